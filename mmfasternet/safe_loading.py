"""Importing this module makes MMEngine read every checkpoint safely.

For the tools of other libraries, by one line of a config:
``custom_imports = dict(imports=['mmfasternet', 'mmfasternet.safe_loading'])``.
"""

from .checkpoints import install

install()
