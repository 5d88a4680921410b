"""Session logs become a dataset: readers -> session model -> makers -> examples -> splits -> files.

The public door is `extract` and its `ExtractReport`.
"""

from oa_compile.extract.pipeline import ExtractReport, Progress, extract

__all__ = ["ExtractReport", "Progress", "extract"]
