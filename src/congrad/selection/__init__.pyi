from .guards import guards as guards
from .keep import reasons as reasons
from .keep import select as select
