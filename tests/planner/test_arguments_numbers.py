"""Numbers of an instruction: units, words, signs, factors, times, and what they are no value of."""

import pytest
from planned_arguments import check, named

CASES = [
    (
        "Make photo.png 300 px wide and 200 px high, then blur it by 2.5",
        ["resize_image", "blur_image"],
        None,
        [{"image": "photo.png", "width": 300, "height": 200}, {"image": "<t1.image>", "radius": 2.5}],
    ),
    (
        "Shrink photo.png to half its size and compress it to under 200 KB",
        ["resize_image", "compress_image"],
        None,
        [{"image": "photo.png", "scale": 0.5}, {"image": "<t1.image>", "max_kilobytes": 200}],
    ),
    (
        "Scale photo.png by 150% then scale it down by 25%",
        ["resize_image", "resize_image"],
        None,
        [{"image": "photo.png", "scale": 1.5}, {"image": "<t1.image>", "scale": 0.75}],
    ),
    ("Make photo.png twice as large", ["resize_image"], [], [{"image": "photo.png", "scale": 2}]),
    (
        "Crop a 300x200 rectangle out of photo.png, 10 px from the left and 20 px from the top",
        ["crop_image"],
        [],
        [{"image": "photo.png", "width": 300, "height": 200, "left": 10, "top": 20}],
    ),
    ("Rotate scan.jpg a quarter turn to the left", ["rotate_image"], [], [{"image": "scan.jpg", "degrees": -90}]),
    ("Turn scan.jpg upside down", ["rotate_image"], [], [{"image": "scan.jpg", "degrees": 180}]),
    (
        'Turn photo.jpg counterclockwise by 30 degrees, add the watermark "Draft copy" and save it as a webp',
        ["rotate_image", "watermark_image", "convert_image"],
        None,
        [
            {"image": "photo.jpg", "degrees": -30},
            {"image": "<t1.image>", "label": "Draft copy"},
            {"image": "<t2.image>", "format": "webp"},
        ],
    ),
    (
        "Mix voice.wav and music.mp3, normalize to -3 dB and cut the first 10 seconds",
        ["mix_audio", "normalize_audio", "trim_audio"],
        None,
        [
            {"first": "voice.wav", "second": "music.mp3"},
            {"audio": "<t1.audio>", "peak_db": -3},
            {"audio": "<t2.audio>", "end": 10},
        ],
    ),
    (
        "I have talk.wav. Remove the noise, bring it to 16000 Hz, and save the part between 0:30 and 1:15",
        ["denoise_audio", "resample_audio", "trim_audio"],
        None,
        [
            {"audio": "talk.wav"},
            {"audio": "<t1.audio>", "rate": 16000},
            {"audio": "<t2.audio>", "start": 30, "end": 75},
        ],
    ),
    (
        "Fade clip.wav for half a second at both ends, keeping 2 to 8 seconds",
        ["trim_audio"],
        [],
        [{"audio": "clip.wav", "start": 2, "end": 8, "fade": 0.5}],
    ),
    (
        "Concatenate a.wav and b.wav with 1.5 seconds of silence between them, then normalize to 2 dB below full scale",
        ["concatenate_audio", "normalize_audio"],
        None,
        [{"first": "a.wav", "second": "b.wav", "pause": 1.5}, {"audio": "<t1.audio>", "peak_db": -2}],
    ),
    (
        "Take the first 20 seconds of song.wav and mix it with voice.wav, 70% song",
        ["trim_audio", "mix_audio"],
        None,
        [{"audio": "song.wav", "end": 20}, {"first": "<t1.audio>", "second": "voice.wav", "balance": 0.7}],
    ),
    # a unit says which task speaks, and a number is taken once
    (
        "Take seconds 3 to 8 of talk.wav and bring the piece to 8000 Hz.",
        ["trim_audio", "resample_audio"],
        None,
        [{"audio": "talk.wav", "start": 3, "end": 8}, {"audio": "<t1.audio>", "rate": 8000}],
    ),
    (
        "Hold on to minutes 1 to 2 of lecture.wav. The clip has to come out at 22 kHz.",
        ["trim_audio", "resample_audio"],
        None,
        [{"audio": "lecture.wav", "start": 60, "end": 120}, {"audio": "<t1.audio>", "rate": 22000}],
    ),
    (
        "Denoise a.wav and bring b.wav to 8 kHz, then mix the two.",
        ["denoise_audio", "resample_audio", "mix_audio"],
        [(0, 2), (1, 2)],
        [{"audio": "a.wav"}, {"audio": "b.wav", "rate": 8000}, {"first": "<t1.audio>", "second": "<t2.audio>"}],
    ),
    (
        "Please keep only the first 8 seconds of piano.wav. Can you prepare organ.wav for a speech recogniser at "
        "48000 Hz? Join the snippet and the resampled recording.",
        ["trim_audio", "resample_audio", "concatenate_audio"],
        [(0, 2), (1, 2)],
        [
            {"audio": "piano.wav", "end": 8},
            {"audio": "organ.wav", "rate": 48000},
            {"first": "<t1.audio>", "second": "<t2.audio>"},
        ],
    ),
    (
        "Get sketch.webp under 500 KB, and give sample.bmp a tilt: 12 degrees",
        ["compress_image", "rotate_image"],
        [],
        [{"image": "sketch.webp", "max_kilobytes": 500}, {"image": "sample.bmp", "degrees": 12}],
    ),
    (
        "Only the opening second of bells.wav, please, and its waveform.",
        ["trim_audio", "plot_waveform"],
        None,
        [{"audio": "bells.wav", "end": 1}, {"audio": "<t1.audio>"}],
    ),
    (
        "Compress holiday.jpg to 120 KB and trim talk.wav to its first minute. My train leaves in five minutes.",
        ["compress_image", "trim_audio"],
        [],
        [{"image": "holiday.jpg", "max_kilobytes": 120}, {"audio": "talk.wav", "end": 60}],
    ),
    # numbers that are no value of a parameter
    (
        "I have two thousand more photos like landscape.jpg. Compress this one as far as you can.",
        ["compress_image"],
        [],
        [{"image": "landscape.jpg"}],
    ),
    (
        "Make a blurred one and a grey one of photo.png",
        ["blur_image", "grayscale_image"],
        [],
        [{"image": "photo.png"}, {"image": "photo.png"}],
    ),
    (
        "Help me string sample.wav and podcast.wav one after the other. How long are the two together?",
        ["concatenate_audio", "audio_info"],
        None,
        [{"first": "sample.wav", "second": "podcast.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Sharpen beach.png and watermark the sharp one",
        ["sharpen_image", "watermark_image"],
        None,
        [{"image": "beach.png"}, {"image": "<t1.image>"}],
    ),
    # what is counted
    ("twenty-five keywords of science.txt", ["extract_keywords"], [], [{"text": "science.txt", "count": 25}]),
    (
        "Give me 3 tags for agenda.txt and its 40 most common words.",
        ["extract_keywords", "word_frequencies"],
        [],
        [{"text": "agenda.txt", "count": 3}, {"text": "agenda.txt", "count": 40}],
    ),
    ("list the five main key terms in article.txt", ["extract_keywords"], [], [{"text": "article.txt", "count": 5}]),
    (
        "The three coldest days in weather.tsv by temperature",
        ["sort_table"],
        [],
        [{"table": "weather.tsv", "column": "temperature", "descending": False, "limit": 3}],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=named(CASES))
def test_numbers_go_where_their_unit_and_name_fit(instruction, task_types, edges, expected):
    check(instruction, task_types, edges, expected)
