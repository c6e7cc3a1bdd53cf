from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.data.relation import relation_categories

__all__ = classes = [
    'KnowledgeGraph',
    'TripleIndex',
    'relation_categories',
]
