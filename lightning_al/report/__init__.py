"""Learning curves, statistics and pictures of finished runs, and a report of them.

`__init__.pyi` lists the public names. Each is imported when it is first used, so the report's command line answers at
once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
