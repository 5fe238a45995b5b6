"""The word lists behind the rules: file extensions, units, number words, comparisons, synonyms."""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """The words of a text separated by blanks."""
    return frozenset(words.split())


EXTENSION_TYPES: dict[str, str] = {
    extension: data_type
    for data_type, extensions in {
        "text": "txt md markdown rst log tex srt vtt",
        "image": "png jpg jpeg webp bmp gif tif tiff svg heic ico ppm",
        "audio": "wav mp3 flac ogg oga opus m4a aac aif aiff wma",
        "video": "mp4 mov avi mkv webm mpeg mpg",
        "table": "csv tsv parquet jsonl ndjson xlsx xls ods feather arrow",
        "document": "html htm pdf docx doc odt rtf epub pptx ppt",
        "json": "json yaml yml geojson toml",
        "file": "zip tar gz tgz bz2 xz 7z rar bin dat py ipynb js ts c cpp h rs go java sh sql xml ini cfg css db",
    }.items()
    for extension in extensions.split()
}
"""File extension → data type of the catalog."""

# Unit as written → (canonical unit, factor to it).
UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(["px", "pixel", "pixels"], ("px", 1.0)),
    **dict.fromkeys(["%", "percent", "pct"], ("%", 1.0)),
    **dict.fromkeys(["s", "sec", "secs", "second", "seconds"], ("s", 1.0)),
    **dict.fromkeys(["ms", "msec", "millisecond", "milliseconds"], ("s", 0.001)),
    **dict.fromkeys(["min", "mins", "minute", "minutes"], ("s", 60.0)),
    **dict.fromkeys(["h", "hr", "hrs", "hour", "hours"], ("s", 3600.0)),
    **dict.fromkeys(["hz", "hertz"], ("Hz", 1.0)),
    **dict.fromkeys(["khz", "kilohertz"], ("Hz", 1000.0)),
    **dict.fromkeys(["°", "deg", "degs", "degree", "degrees"], ("deg", 1.0)),
    **dict.fromkeys(["turn", "turns", "rotation", "rotations"], ("deg", 360.0)),
    **dict.fromkeys(["db", "dbfs", "decibel", "decibels"], ("dB", 1.0)),
    **dict.fromkeys(["kb", "kib", "kilobyte", "kilobytes"], ("kB", 1.0)),
    # 1 MB = 1000 kB: where it is a limit, the smaller reading keeps both.
    **dict.fromkeys(["mb", "mib", "megabyte", "megabytes", "megs"], ("kB", 1000.0)),
    **dict.fromkeys(["x", "×", "times", "fold"], ("factor", 1.0)),
    **dict.fromkeys(["kbps"], ("kbps", 1.0)),
    **dict.fromkeys(["fps"], ("fps", 1.0)),
    **dict.fromkeys(["dpi", "ppi"], ("dpi", 1.0)),
}

NUMBER_WORDS: dict[str, float] = {
    **{
        w: i
        for i, w in enumerate(
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
        )
    },
    **dict(
        zip(
            ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
            range(13, 20),
            strict=True,
        )
    ),
    **dict(
        zip(
            ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"],
            range(20, 100, 10),
            strict=True,
        )
    ),
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
}
FACTOR_WORDS: dict[str, float] = {
    "half": 0.5,
    "halve": 0.5,
    "quarter": 0.25,
    "third": 1 / 3,
    "twice": 2,
    "double": 2,
    "doubled": 2,
    "thrice": 3,
    "triple": 3,
    "tripled": 3,
    "quadruple": 4,
}

# Phrases, longest first within one search; the canonical operator of each.
COMPARISONS: dict[str, tuple[str, ...]] = {
    ">=": (
        *("greater than or equal to", "more than or equal to", "larger than or equal to", "at least", "no less than"),
        *("not less than", "no fewer than", "not below", "a minimum of", ">=", "=>", "≥"),
    ),
    "<=": (
        *("less than or equal to", "smaller than or equal to", "fewer than or equal to", "at most", "no more than"),
        *("not more than", "not above", "not over", "no greater than", "a maximum of", "up to", "<=", "=<", "≤"),
    ),
    "!=": (
        *("does not equal", "do not equal", "doesn't equal", "not equal to", "is not", "isn't", "are not", "aren't"),
        *("other than", "different from", "differs from", "!=", "<>", "≠"),
    ),
    ">": (
        *("greater than", "more than", "larger than", "higher than", "bigger than", "older than", "longer than"),
        *("warmer than", "hotter than", "heavier than", "taller than", "later than", "exceeds", "exceed", "exceeding"),
        *("over", "above", "beyond", ">"),
    ),
    "<": (
        *("less than", "fewer than", "smaller than", "lower than", "younger than", "shorter than", "cheaper than"),
        *("colder than", "cooler than", "lighter than", "earlier than", "under", "below", "<"),
    ),
    "contains": ("contains", "contain", "containing", "includes", "include", "including", "mentions", "mentioning"),
    "==": (
        *("is equal to", "are equal to", "equal to", "equals", "equal", "equalling", "is exactly", "matches"),
        *("is", "are", "was", "were", "==", "="),
    ),
}
OPERATOR_SPELLINGS: dict[str, frozenset[str]] = {
    ">": frozenset({">", "gt", "greater", "greaterthan", "morethan", "above", "over"}),
    ">=": frozenset({">=", "≥", "ge", "gte", "atleast", "greaterorequal", "greaterthanorequal"}),
    "<": frozenset({"<", "lt", "less", "lessthan", "fewerthan", "below", "under"}),
    "<=": frozenset({"<=", "≤", "le", "lte", "atmost", "lessorequal", "lessthanorequal"}),
    "==": frozenset({"==", "=", "eq", "equal", "equals", "equalto", "is"}),
    "!=": frozenset({"!=", "≠", "<>", "ne", "neq", "notequal", "notequals", "not", "isnot"}),
    "contains": frozenset({"contains", "contain", "includes", "like", "has"}),
}
"""Canonical operator → how a catalog may spell it in an enumeration (letters without separators, lower case)."""

# Groups of words that stand for each other when words of an instruction meet words of a catalog.
SYNONYMS: tuple[str, ...] = (
    "resize shrink enlarge rescale downscale upscale scale thumbnail smaller bigger",
    "grayscale gray greyscale monochrome bw desaturate",
    "rotate turn tilt",
    "crop cut cutout",
    "trim cut clip excerpt snippet",
    "sharpen sharp crisp crisper",
    "blur soften blurry",
    "denoise noise hiss grain clean cleanup",
    "normalize loudness louder volume level",
    "compress smaller lighter",
    "watermark stamp mark",
    "combine collage beside stitch side",
    "concatenate append splice",
    "mix blend overlay",
    "summarize summary shorten condense gist sum-up digest",
    "statistics readability count stats",
    "word_frequencies frequency often occurrence",
    "contacts email phone link emails",
    "redact anonymize censor mask",
    "replace substitute swap change",
    "compare difference diff differ changes",
    "report page",
    "filter keep rows where only",
    "sort order rank largest smallest top descending ascending",
    "aggregate group total average sum per",
    "join merge combine match link",
    "describe statistics profile overview",
    "plot chart graph draw visualize diagram",
    "convert save export format transform",
    "deduplicate duplicate unique dedupe",
    "palette color dominant",
    "metadata exif properties",
    "histogram distribution",
    "info duration information details",
    "resample rate khz hz downsample",
    "spectrogram spectrum frequencies",
    "waveform wave",
    "zip archive pack bundle",
    "checksum hash digest fingerprint",
    "detect language recognize",
    "keywords keyphrases tags terms topics",
    "transcribe transcript speech",
    "translate translation",
)

# Values of enumerations that people call otherwise (letters and digits only, lower case).
VALUE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "jpeg": ("jpg",),
    "jpg": ("jpeg",),
    "tiff": ("tif",),
    "mean": ("average", "avg", "averages", "averaged"),
    "average": ("mean", "avg"),
    "sum": ("total", "totals", "totalled", "add up", "added up", "adding up", "summed", "summed up", "sums"),
    "count": ("number of", "how many", "counts"),
    "max": ("maximum", "highest", "largest", "biggest"),
    "min": ("minimum", "lowest", "smallest"),
    "maximum": ("max", "highest", "largest"),
    "minimum": ("min", "lowest", "smallest"),
    "median": ("middle value",),
    "jsonl": ("json lines", "json-lines", "ndjson", "line-delimited json"),
    "scatter": ("scatterplot", "scatter plot"),
    "histogram": ("distribution",),
    "line": ("curve", "time series", "trend"),
    "bar": ("bars", "column chart"),
    "left": ("left join", "keep all rows of the first", "left outer"),
    "desc": ("descending", "largest first", "highest first", "decreasing"),
    "descending": ("desc", "largest first", "highest first", "biggest first", "newest first", "decreasing"),
    "asc": ("ascending", "smallest first", "lowest first", "increasing"),
    "ascending": ("asc", "smallest first", "lowest first", "oldest first", "increasing"),
    "gray": ("grey",),
    "horizontal": ("horizontally",),
    "vertical": ("vertically",),
}

DESCENDING = (
    *("descending", "desc", "decreasing", "largest", "highest", "biggest", "greatest", "most", "newest", "latest"),
    *("best", "top", "reverse", "reversed", "longest", "warmest", "priciest", "expensive", "down", "high to low"),
)
ASCENDING = (
    *("ascending", "asc", "increasing", "smallest", "lowest", "least", "oldest", "earliest", "alphabetically"),
    *("emptiest", "lightest", "youngest", "slowest", "weakest", "thinnest", "driest", "quietest", "nearest", "closest"),
    *(
        "darkest",
        "poorest",
        "softest",
        "narrowest",
        "alphabetical",
        "shortest",
        "cheapest",
        "coldest",
        "fewest",
        "low to high",
        "chronologically",
        "chronological",
    ),
)

_NO_SUPERLATIVES = word_set(
    "interest request suggest forest test west guest harvest contest protest honest invest digest modest latest rest "
    "crest nest pest quest vest zest chest arrest manifest attest detest ingest conquest"
)


def is_superlative(word: str) -> bool:
    """Whether a word in lower case is a superlative by its form: `wettest`, `largest`."""
    return word.endswith("est") and len(word) > 5 and word not in _NO_SUPERLATIVES


STOP_WORDS = word_set(
    "a an the this that these those it its they them their his her my our your all any some each every both "
    "and or but then next finally after afterwards before while plus also as at by for from in into of on onto off "
    "out over per to toward towards under up upon via with within without using than so such "
    "is are was were be been being do does did done has have had having will would can could should shall may might "
    "i we you he she me us please just only not no nor if when where which who whose what how why there here "
    "against versus vs between below above until till through across about around one ones "
    "column columns field fields value values row rows table tables file files result results "
    "first last now again still too very more less"
)
"""Words without content of their own: they end a bare column name and carry no weight when clauses meet tasks."""

DATA_NOUNS: dict[str, tuple[str, ...]] = {
    "image": ("image", "picture", "photo", "photograph", "pic", "graphic", "chart", "plot", "diagram", "thumbnail"),
    "audio": ("audio", "recording", "sound", "clip", "song", "track", "voice"),
    "table": ("table", "data", "dataset", "rows", "spreadsheet", "csv"),
    "text": ("text", "note", "article", "summary", "transcript", "essay", "letter", "memo"),
    "document": ("document", "page", "report", "html"),
    "video": ("video", "movie", "film"),
    "file": ("file", "archive", "zip"),
}
"""What people call a value of each data type."""
