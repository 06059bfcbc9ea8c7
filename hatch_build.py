"""Build hook: the README as a package index shows it."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A picture with a path in the repository, and the caption in italics below it.
PICTURE = re.compile(r'^!\[[^]]*]\((?!https?:)[^)]*\)\n\n(?:\*[^*]+\*\n\n)?', re.MULTILINE)
#: A link to a path in the repository.
LINK = re.compile(r'\[([^]]+)]\((?!https?:|#)[^)]*\)')


def without_repository_paths(readme: str) -> str:
    """Drop pictures and keep only the text of links that work in the repository alone."""
    return LINK.sub(r'\1', PICTURE.sub('', readme))


class ReadmeHook(MetadataHookInterface):
    """Sets the description of the package."""

    def update(self, metadata: dict) -> None:
        """Add the README to the metadata of the package."""
        text = Path(self.root, 'README.md').read_text(encoding='utf-8')
        metadata['readme'] = {'content-type': 'text/markdown', 'text': without_repository_paths(text)}
