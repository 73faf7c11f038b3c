"""CUDA objects of kernels, without a GPU, and what ptxas says of them: read from the object itself, an ELF file (`.nv.info`)."""

import struct
from pathlib import Path

import warp as wp

_REGISTERS, _FRAME = 0x2F, 0x11  # EIATTR_REGCOUNT, EIATTR_FRAME_SIZE
_LONG = 4  # format of an entry: with a length and data after the tag, instead of two bytes


def compiled(kernel: wp.Kernel, *, use_ptx: bool) -> Path:
    """Compile a kernel for sm_90, or find it in Warp's cache on disk, where `launch` would look for it too."""
    wp.init()  # sets the folder
    name = kernel.module.get_module_identifier()  # holds a digest of the source
    file = Path(wp.config.kernel_cache_dir) / name / f"{name}.sm90.{'ptx' if use_ptx else 'cubin'}"
    if not file.exists():
        assert wp.compile_aot_module(kernel.module, arch=90, use_ptx=use_ptx) == [file]
    return file


def sections(data):
    """Yield name, number and content of every section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, of_names = struct.unpack_from("<HHH", data, 0x3A)
    heads = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
    names = heads[of_names][4]
    for name, kind, _, _, start, length, *_ in heads:
        text = data[names + name : data.index(b"\0", names + name)].decode()
        yield text, kind, data[start : start + length]


def usage(path: Path) -> dict[str, int]:
    """Return registers and bytes of stack frame of the one kernel in a cubin; frames hold what registers do not."""
    (info,) = (content for name, _, content in sections(path.read_bytes()) if name == ".nv.info")
    found, at = {_REGISTERS: [], _FRAME: []}, 0
    while at < len(info):
        form, tag, length = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == _LONG:
            if tag in found:
                found[tag].append(struct.unpack_from("<II", info, at)[1])
            at += length
    # one entry for each function, Warp's own helpers among them
    return {"registers": max(found[_REGISTERS]), "frame": max(found[_FRAME])}
