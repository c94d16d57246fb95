"""The SDK's own models of the AWS services, read in a fraction of the time that it takes itself.

A new process pays for them with every client: endpoints.json alone is more than a megabyte.
"""

import gzip
import json
import os
from contextlib import suppress
from typing import Any

from botocore.loaders import JSONFileLoader, Loader


class ShippedModels(Loader):
    """The models that came with the SDK; those of AWS_DATA_PATH and ~/.aws/models could bring other endpoints."""

    def __init__(self) -> None:
        super().__init__([self.BUILTIN_DATA_PATH], _PlainJson(), include_default_search_paths=False)

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 (the SDK's signature)
        """Every service. The SDK would look into each of their folders, for nothing: it opens the one it needs."""
        return os.listdir(self.BUILTIN_DATA_PATH)  # noqa: PTH208 (names, not paths)


class _PlainJson(JSONFileLoader):
    """Objects as plain dictionaries, which keep their order as well."""

    def load_file(self, file_path: str) -> Any:
        """What `file_path`, with its extension left out, holds; None where there is no such file."""
        for extension, read in ((".json", open), (".json.gz", gzip.open)):
            with suppress(FileNotFoundError), read(file_path + extension, "rb") as file:
                return json.loads(file.read())
        return None
