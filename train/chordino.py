"""Chordino of Mauch and Dixon: the chords of a mix, by the Vamp plugin in the package chord-extractor.

The plugin is called through Vamp's C interface, so that no host for plugins is needed.
"""

import ctypes
import importlib.util
import os
from ctypes import CFUNCTYPE, POINTER, Structure, Union, c_char_p, c_float, c_int, c_uint, c_void_p

import numpy as np
from scipy import signal

RATE = 44100


class _Feature(Structure):
    _fields_ = [("has_time", c_int), ("sec", c_int), ("nsec", c_int), ("count", c_uint), ("values", POINTER(c_float)), ("label", c_char_p)]


class _Either(Union):
    _fields_ = [("v1", _Feature), ("v2", c_int * 3)]


class _List(Structure):
    _fields_ = [("count", c_uint), ("features", POINTER(_Either))]


class _Output(Structure):
    _fields_ = [("identifier", c_char_p)]  # the rest is not needed


class _Plugin(Structure):
    pass


_Plugin._fields_ = [
    ("api", c_uint), ("identifier", c_char_p), ("name", c_char_p), ("description", c_char_p), ("maker", c_char_p), ("version", c_int),
    ("copyright", c_char_p), ("parameters", c_uint), ("parameter", c_void_p), ("programs", c_uint), ("program", c_void_p), ("domain", c_int),
    ("instantiate", CFUNCTYPE(c_void_p, POINTER(_Plugin), c_float)), ("cleanup", CFUNCTYPE(None, c_void_p)),
    ("initialise", CFUNCTYPE(c_int, c_void_p, c_uint, c_uint, c_uint)), ("reset", CFUNCTYPE(None, c_void_p)),
    ("get_parameter", c_void_p), ("set_parameter", c_void_p), ("get_program", c_void_p), ("select_program", c_void_p),
    ("step", CFUNCTYPE(c_uint, c_void_p)), ("block", CFUNCTYPE(c_uint, c_void_p)), ("channels_min", c_void_p), ("channels_max", c_void_p),
    ("outputs", CFUNCTYPE(c_uint, c_void_p)), ("output", CFUNCTYPE(POINTER(_Output), c_void_p, c_uint)), ("release_output", c_void_p),
    ("process", CFUNCTYPE(POINTER(_List), c_void_p, POINTER(POINTER(c_float)), c_int, c_int)),
    ("rest", CFUNCTYPE(POINTER(_List), c_void_p)), ("release", CFUNCTYPE(None, POINTER(_List)))]  # fmt: skip


def there():
    return importlib.util.find_spec("chord_extractor") is not None


class Chordino:
    def __init__(self):
        folder = os.path.dirname(importlib.util.find_spec("chord_extractor").origin)
        library = ctypes.CDLL(os.path.join(folder, "_lib", "nnls-chroma.so"))
        library.vampGetPluginDescriptor.restype = POINTER(_Plugin)
        found = iter(lambda i=iter(range(99)): library.vampGetPluginDescriptor(2, next(i)), None)
        self.plugin = next(p for p in found if p.contents.identifier == b"chordino")

    def __call__(self, x, rate):
        """[(seconds where it begins, name)]"""
        p = self.plugin.contents
        y = signal.resample_poly(x, RATE, rate)
        handle = p.instantiate(self.plugin, RATE)
        step, block = p.step(handle), p.block(handle)
        if not p.initialise(handle, 1, step, block):
            raise RuntimeError("Chordino does not begin")
        names = [p.output(handle, k).contents.identifier for k in range(p.outputs(handle))]
        wanted, window, out = names.index(b"simplechord"), np.hanning(block + 1)[:-1], []
        y = np.concatenate([y, np.zeros(block)])

        def keep(lists):
            if not lists:
                return
            got = lists[wanted]
            for k in range(got.count):
                f = got.features[k].v1
                out.append((f.sec + f.nsec * 1e-9, f.label.decode()))
            p.release(lists)

        for at in range(0, len(y) - block, step):
            spectrum = np.fft.rfft(np.fft.ifftshift(y[at : at + block] * window))
            pairs = np.stack([spectrum.real, spectrum.imag], 1).astype(np.float32).ravel()
            channel = (POINTER(c_float) * 1)(pairs.ctypes.data_as(POINTER(c_float)))
            second = (at + block / 2) / RATE
            keep(p.process(handle, channel, int(second), int(second % 1 * 1e9)))
        keep(p.rest(handle))
        p.cleanup(handle)
        return out
