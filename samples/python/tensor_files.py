"""NumPy's .npy and safetensors, as bytes, written and read by hand: all that a client in any language needs."""
import ast
import json
import struct

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}


def to_npy(array):
    """Version 1.0: magic, version, length of the header, the header, padded so that the elements begin at a multiple of 64."""
    array = np.ascontiguousarray(array)
    header = repr({"descr": array.dtype.newbyteorder("<").str, "fortran_order": False, "shape": array.shape})
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin-1") + array.tobytes()


def from_npy(data):
    assert data[:6] == b"\x93NUMPY", "not an array of NumPy"
    begin, length = (10, struct.unpack_from("<H", data, 8)[0]) if data[6] == 1 else (12, struct.unpack_from("<I", data, 8)[0])
    header = ast.literal_eval(data[begin:begin + length].decode("latin-1"))
    order = "F" if header["fortran_order"] else "C"
    return np.frombuffer(data, header["descr"], offset=begin + length).reshape(header["shape"], order=order)


def to_safetensors(tensors, **texts):
    """The length of the header, the header, and the tensors behind it; options are texts in the header."""
    names = {np.dtype(name).str: key for key, name in TYPES.items()}
    header, parts, end = {"__metadata__": texts} if texts else {}, [], 0
    # Wide elements first, so that each begins at a multiple of its size.
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].itemsize):
        parts.append(np.ascontiguousarray(array).tobytes())
        header[name] = {"dtype": names[array.dtype.str], "shape": list(array.shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def from_safetensors(data):
    """The tensors by name, and the texts."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    texts = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + length + begin:8 + length + end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, texts
