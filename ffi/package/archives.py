"""Archives that are the same bytes for the same files: names in order, no owners, one time."""

import gzip
import os
import tarfile
import zipfile

# 1980, where the times of zip begin.
TIME = 315532800


def tree(folder):
    """The files and links below a folder, as (name, path), in order."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in [*names, *links]:
            path = os.path.join(place, name)
            found.append((os.path.relpath(path, folder).replace(os.sep, "/"), path))
    return sorted(found)


def tar(folder, archive):
    """A .tar.gz whose names begin with its own."""
    top = os.path.basename(archive)[: -len(".tar.gz")]
    with open(archive, "wb") as out, gzip.GzipFile("", "wb", 9, out, 0) as packed:
        with tarfile.open(mode="w", fileobj=packed, format=tarfile.GNU_FORMAT) as written:
            for name, path in tree(folder):
                entry = written.gettarinfo(path, f"{top}/{name}")
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mtime = TIME
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                if entry.isreg():
                    with open(path, "rb") as file:
                        written.addfile(entry, file)
                else:
                    written.addfile(entry)


def zipped(folder, archive, top=""):
    """A zip, whose names begin with `top`; of a link, the file that it names."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, path in tree(folder):
            if os.path.isdir(path):
                raise ValueError(f"{path} is a link to a folder, which a zip has not")
            entry = zipfile.ZipInfo(f"{top}{name}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
            with open(path, "rb") as file:
                written.writestr(entry, file.read())
