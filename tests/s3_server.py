"""A real S3-compatible server for tests, moto's."""

from __future__ import annotations

from functools import cached_property

from moto_server import MotoServer
from pyarrow import fs


class S3Server(MotoServer):
    """Moto's server with one bucket; it may be stopped and started again on the same port.

    Its objects live in its memory: those of before are put back as an outage leaves them.
    """

    bucket = "logs"

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, bytes] = {}

    def start(self) -> None:
        super().start()
        self._client.create_dir(self.bucket)
        for key, content in self._held.items():
            with self._client.open_output_stream(f"{self.bucket}/{key}") as object_:
                object_.write(content)

    def stop(self) -> None:
        """Goes away, as a server does whose network fails."""
        if self.is_up:
            self._held = {key: self.get(key) for key in self.keys()}
        super().stop()

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of its objects."""
        where = fs.FileSelector(f"{self.bucket}/{prefix}", recursive=True, allow_not_found=True)
        found = self._client.get_file_info(where)
        files = [each.path for each in found if each.type == fs.FileType.File]
        return [path.removeprefix(f"{self.bucket}/") for path in files]

    def get(self, key: str) -> bytes:
        with self._client.open_input_stream(f"{self.bucket}/{key}") as object_:
            return bytes(object_.read())

    @cached_property
    def _client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=self.environ["AWS_ACCESS_KEY_ID"],
            secret_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            region=self.environ["AWS_REGION"],
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )
