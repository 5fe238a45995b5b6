"""Recording tools, against known tones."""

import numpy as np
import pytest
import soundfile

from orchestai_jax.workers import WorkerError

RESAMPLERS = ["resample_audio_linear", "resample_audio_polyphase", "resample_audio_fourier"]
RATE = 16_000


@pytest.fixture
def root(tmp_path):
    t = np.arange(2 * RATE) / RATE
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * t), RATE)
    soundfile.write(
        tmp_path / "stereo.flac", np.stack([0.2 * np.sin(2 * np.pi * 1000 * t[:RATE]), np.zeros(RATE)], 1), RATE
    )
    soundfile.write(tmp_path / "high.wav", 0.5 * np.sin(2 * np.pi * 6000 * t), RATE)
    soundfile.write(tmp_path / "silence.wav", np.zeros(100), RATE)
    return tmp_path


def loudest_frequency(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()]


@pytest.mark.parametrize("worker", RESAMPLERS)
@pytest.mark.parametrize("wanted", [8000, 11025, 16000, 44100])
def test_resampling_keeps_pitch_length_and_level(do, root, worker, wanted):
    samples, rate = soundfile.read(root / do(worker, root=root, audio="tone.wav", rate=wanted)["audio"])
    assert rate == wanted
    assert len(samples) == 2 * wanted
    assert loudest_frequency(samples, rate) == pytest.approx(440, abs=1)
    assert np.sqrt((samples**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    ideal = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * wanted) / wanted)
    middle = slice(wanted // 10, -wanted // 10)
    assert np.abs(samples - ideal)[middle].max() < 0.006, "in time and in phase"


def test_filters_remove_what_the_new_rate_cannot_hold_and_lines_alias_it(do, root):
    levels = {}
    for worker in RESAMPLERS:
        samples, _ = soundfile.read(root / do(worker, root=root, audio="high.wav", rate=8000)["audio"])
        levels[worker] = np.sqrt((samples[400:-400] ** 2).mean())
    assert levels["resample_audio_linear"] > 0.3
    assert levels["resample_audio_polyphase"] < 0.003
    assert levels["resample_audio_fourier"] < 0.003


def test_info_reports_levels(do, root):
    info = do("audio_info_soundfile", root=root, audio="tone.wav")["info"]
    assert info == {"seconds": 2.0, "rate": RATE, "channels": 1, "format": "WAV", "peak_db": -6.02, "rms_db": -9.03}
    assert do("audio_info_soundfile", root=root, audio="silence.wav")["info"]["peak_db"] == -120


def test_trims_are_slices(do, root):
    source, _ = soundfile.read(root / "tone.wav")
    part, _ = soundfile.read(
        root / do("trim_audio_soundfile", root=root, audio="tone.wav", start="0.5s", end=1)["audio"]
    )
    assert np.array_equal(part, source[RATE // 2 : RATE])
    rest, _ = soundfile.read(root / do("trim_audio_soundfile", root=root, audio="tone.wav", start=1.5, end=99)["audio"])
    assert np.array_equal(rest, source[-RATE // 2 :])
    faded, _ = soundfile.read(root / do("trim_audio_soundfile", root=root, audio="tone.wav", fade=0.1)["audio"])
    assert np.abs(faded[:160]).max() < 0.06
    assert np.array_equal(faded[RATE : RATE + 100], source[RATE : RATE + 100])
    for wrong, message in (({"start": 2}, "past the end"), ({"start": 1, "end": 0.5}, "not after start")):
        with pytest.raises(WorkerError, match=message):
            do("trim_audio_soundfile", root=root, audio="tone.wav", **wrong)


def test_normalising_reaches_the_peak(do, root):
    for peak_db, level in ((-1, 0.891), ("-6 dB", 0.501), (0, 1.0)):
        name = do("normalize_audio_peak", root=root, audio="tone.wav", peak_db=peak_db)["audio"]
        assert np.abs(soundfile.read(root / name)[0]).max() == pytest.approx(level, abs=0.002)
    silent = do("normalize_audio_peak", root=root, audio="silence.wav")["audio"]
    assert not soundfile.read(root / silent)[0].any()


def test_a_mix_holds_both_recordings(do, root):
    name = do("mix_audio_sum", root=root, first="tone.wav", second="stereo.flac")["audio"]
    mix, _ = soundfile.read(root / name)
    assert mix.shape == (2 * RATE, 2)
    spectrum = np.abs(np.fft.rfft(mix[:RATE, 0]))
    assert {int(i) for i in np.argsort(spectrum)[-2:]} == {440, 1000}
    alone, _ = soundfile.read(
        root / do("mix_audio_sum", root=root, first="tone.wav", second="high.wav", balance=1)["audio"]
    )
    assert np.abs(alone - soundfile.read(root / "tone.wav")[0]).max() < 1e-4


def test_recordings_of_other_rates_and_channels_are_appended(do, root, samples):
    soundfile.write(root / "slow.wav", 0.3 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000), 8000)
    name = do("concatenate_audio_append", root=root, first="stereo.flac", second="slow.wav", pause=0.5)["audio"]
    joined, rate = soundfile.read(root / name)
    assert (rate, joined.shape) == (RATE, (int(2.5 * RATE), 2))
    assert not joined[RATE : int(1.5 * RATE)].any()
    assert loudest_frequency(joined[int(1.5 * RATE) :, 0], RATE) == pytest.approx(200, abs=1)


@pytest.mark.parametrize("worker", ["denoise_audio_lowpass", "denoise_audio_spectral"])
def test_denoising_comes_nearer_to_the_clean_recording(do, samples, worker):
    clean, _ = soundfile.read(samples / "voice.wav")
    noisy, _ = soundfile.read(samples / "voice_noisy.wav")
    result, _ = soundfile.read(samples / do(worker, audio="voice_noisy.wav")["audio"])
    assert len(result) == len(noisy)
    assert ((result - clean) ** 2).sum() < 0.7 * ((noisy - clean) ** 2).sum()


@pytest.mark.parametrize("worker", ["spectrogram_matplotlib", "plot_waveform_matplotlib"])
@pytest.mark.parametrize("name", ["silence.wav", "stereo.flac"])
def test_short_silent_and_stereo_recordings_are_drawn(do, root, worker, name):
    picture = root / do(worker, root=root, audio=name)["image"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_one_sample_is_a_recording_too(do, root):
    soundfile.write(root / "one.wav", np.array([0.5]), RATE)
    for worker in (*RESAMPLERS, "denoise_audio_lowpass", "normalize_audio_peak", "spectrogram_matplotlib"):
        do(worker, root=root, audio="one.wav")
    with pytest.raises(WorkerError, match="at least 16"):
        do("denoise_audio_spectral", root=root, audio="one.wav")


def test_recordings_that_are_none_are_refused(do, root, monkeypatch):
    soundfile.write(root / "empty.wav", np.zeros(0), RATE)
    soundfile.write(root / "nan.wav", np.array([0.0, np.nan, np.inf]), RATE, subtype="FLOAT")
    (root / "text.wav").write_text("no sound")
    for name, message in (
        ("empty.wav", "no samples"),
        ("nan.wav", "not finite"),
        ("text.wav", "not a readable recording"),
    ):
        with pytest.raises(WorkerError, match=message):
            do("normalize_audio_peak", root=root, audio=name)
    for rate in (10, 10**9, "fast"):
        with pytest.raises(WorkerError, match="rate must be"):
            do("resample_audio_linear", root=root, audio="tone.wav", rate=rate)
    monkeypatch.setattr("orchestai_jax.workers.audio_tools.MAX_SAMPLES", 40_000)
    with pytest.raises(WorkerError, match="more than 40000 samples"):
        do("resample_audio_linear", root=root, audio="tone.wav", rate=44100)
