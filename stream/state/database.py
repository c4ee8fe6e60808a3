"""A RocksDB with options that fit a worker, whose errors are sentences."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rocksdict

from serving.errors import StateError

# For blocks, indexes, filters and write buffers, of all partitions together.
CACHE_BYTES = 128 * 2**20
WRITE_BUFFERS_BYTES = 64 * 2**20
MAX_OPEN_FILES = 512
LOG = logging.getLogger(__name__)


def new_batch() -> Any:
    """Return an empty batch of changes: `put`, `delete`, `delete_range`."""
    return rocksdict.WriteBatch(raw_mode=True)


class Database:
    """A RocksDB whose errors are sentences.

    Args:
        path: its directory, which is made where it is not there; one that is damaged is made anew.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._rocks = self._open()
        except Exception as error:
            if "Corruption" not in str(error):
                raise self._failed("opened", error) from error
            LOG.warning("state on disk is damaged and is read anew directory=%s error=%r", path, str(error))
            self._rocks = self._made_anew()

    def get(self, key: bytes) -> bytes | None:
        """Return what is stored under a key."""
        try:
            value: bytes | None = self._rocks.get(key)
        except Exception as error:
            raise self._failed("read", error) from error
        return value

    def first(self, key: bytes) -> bytes | None:
        """Return the first key that is not less, None where there is none."""
        return next((found for found, _ in self.items(b"", key)), None)

    def items(self, prefix: bytes, start: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """Give keys without their prefix, and values, in the order of the keys, from `prefix + start` on."""
        try:
            at = self._rocks.iter()
            at.seek(prefix + start)
            while at.valid() and (key := at.key()).startswith(prefix):
                yield key[len(prefix) :], at.value()
                at.next()
            at.status()
        except Exception as error:
            raise self._failed("read", error) from error

    def write(self, batch: Any) -> None:
        """Write a batch, all of it or nothing."""
        try:
            self._rocks.write(batch)
        except Exception as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        """Close it; what it has not written to its tables is in its log."""
        try:
            self._rocks.close()
        except Exception as error:
            LOG.warning("state on disk could not be closed well directory=%s error=%r", self._path, str(error))

    def _open(self) -> Any:
        self._path.mkdir(parents=True, exist_ok=True)
        return rocksdict.Rdict(str(self._path), options=_options())

    def _made_anew(self) -> Any:
        try:
            rocksdict.Rdict.destroy(str(self._path), _options())
            return self._open()
        except Exception as error:
            raise self._failed("made anew", error) from error

    def _failed(self, doing: str, error: Exception) -> StateError:
        return StateError(
            f"session states on disk cannot be {doing} in {self._path} ({error}). Nothing is lost, the changelog has "
            "all of them: make room on the disk or repair it, or delete the directory, and start the worker again"
        )


def _options() -> Any:
    cache = rocksdict.Cache(CACHE_BYTES)
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)  # a session that begins is looked for in vain
    table.set_format_version(5)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_manager(
        rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(WRITE_BUFFERS_BYTES, False, cache)
    )
    options.set_write_buffer_size(WRITE_BUFFERS_BYTES // 2)
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_level_compaction_dynamic_level_bytes(True)
    # The kernel gets work as it comes, not all at once when a file is finished.
    options.set_bytes_per_sync(2**20)
    options.set_wal_bytes_per_sync(2**20)
    options.set_max_log_file_size(2**20)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options
