"""FluidSynth through ctypes: notes in, mono float samples out, every event at its sample."""

import ctypes
import ctypes.util
import os

import numpy as np

RATE = 32000
# TRAIN_FONTS and TRAIN_LIBS: where a machine without Debian's packages has them (bundle.sh)
FONTS = os.environ.get("TRAIN_FONTS", "/usr/share/sounds/sf2/FluidR3_GM.sf2:/usr/share/sounds/sf3/MuseScore_General.sf3").split(":")


def _loaded(*paths):
    """Whether one of these libraries could be loaded: the first that can."""
    for path in paths:
        try:
            ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
            return True
        except OSError:
            pass
    return False


def library():
    """FluidSynth.  From a folder of libraries each is loaded that the system lacks, those first that need no other."""
    folder = os.environ.get("TRAIN_LIBS")
    if not folder:
        return ctypes.CDLL(ctypes.util.find_library("fluidsynth"))
    waiting = sorted(os.listdir(folder))
    while waiting:
        left = [name for name in waiting if not _loaded(name, os.path.join(folder, name))]
        if len(left) == len(waiting):
            raise SystemExit(f"{folder}: these libraries do not load: {' '.join(left)}")
        waiting = left
    return ctypes.CDLL("libfluidsynth.so.3")  # the one just loaded


class Synth:
    def __init__(self, font=FONTS[0]):
        lib = library()
        for name in ("new_fluid_settings", "new_fluid_synth"):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.fluid_set_log_function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        for level in range(1, 4):
            lib.fluid_set_log_function(level, None, None)
        settings = ctypes.c_void_p(lib.new_fluid_settings())
        lib.fluid_settings_setnum(settings, b"synth.sample-rate", ctypes.c_double(RATE))
        lib.fluid_settings_setnum(settings, b"synth.gain", ctypes.c_double(0.5))
        lib.fluid_settings_setint(settings, b"synth.reverb.active", 0)
        lib.fluid_settings_setint(settings, b"synth.chorus.active", 0)
        lib.fluid_settings_setint(settings, b"synth.dynamic-sample-loading", 1)
        self.lib = lib
        self.synth = ctypes.c_void_p(lib.new_fluid_synth(settings))
        if not os.path.exists(font):
            raise SystemExit(f"{font} is missing: apt install fluid-soundfont-gm musescore-general-soundfont")
        self.font = lib.fluid_synth_sfload(self.synth, font.encode(), 1)

    def render(self, events, preset, seconds, lead):
        """Samples of [0, seconds); events before 0 are played too, from `lead` seconds earlier."""
        lib, synth = self.lib, self.synth
        lib.fluid_synth_system_reset(synth)
        bank, program, _ = preset
        channel = 9 if bank == 128 else 0
        if lib.fluid_synth_program_select(synth, channel, self.font, bank, program) != 0:
            raise ValueError(f"no preset {bank}:{program}")
        total = int((seconds + lead) * RATE)
        left = np.zeros(total, np.float32)
        right = np.zeros(total, np.float32)
        lp, rp = left.ctypes.data_as(ctypes.c_void_p), right.ctypes.data_as(ctypes.c_void_p)
        done = 0
        for at, on, pitch, velocity in events:
            target = int((at + lead) * RATE)
            if target < 0:
                continue
            target = min(target, total)
            if target > done:
                lib.fluid_synth_write_float(synth, target - done, lp, done, 1, rp, done, 1)
                done = target
            if done >= total:
                break
            if on:
                lib.fluid_synth_noteon(synth, channel, pitch, velocity)
            else:
                lib.fluid_synth_noteoff(synth, channel, pitch)
        if done < total:
            lib.fluid_synth_write_float(synth, total - done, lp, done, 1, rp, done, 1)
        return ((left + right) * 0.5)[int(lead * RATE):]
