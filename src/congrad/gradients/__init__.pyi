from .build import build_index as build_index
from .index import GradientIndex as GradientIndex
from .index import open_index as open_index
