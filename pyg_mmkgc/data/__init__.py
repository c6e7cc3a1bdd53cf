from pyg_mmkgc.data.audit import AuditReport
from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.data.numbering import renumber
from pyg_mmkgc.data.relation import relation_categories

__all__ = classes = [
    'AuditReport',
    'KnowledgeGraph',
    'TripleIndex',
    'relation_categories',
    'renumber',
]
