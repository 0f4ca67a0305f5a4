from .guards import guards as guards
from .keep import reasons as reasons
from .keep import select as select
from .settings import DEFAULT_SELECTION as DEFAULT_SELECTION
from .settings import Selection as Selection
from .settings import check_rule as check_rule
