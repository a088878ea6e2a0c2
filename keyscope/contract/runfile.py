"""The run file: its tables, its atomic publication, and opening it together with its analyses."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import duckdb
from pydantic import ValidationError

from keyscope.contract.analyses.files import analysis_files, attach_analyses
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.key_documents import KEY_DOCUMENTS, write_documents
from keyscope.contract.manifest import Manifest
from keyscope.contract.reading import Columns, Unusable, attach, connect_to, read_document, refuse_macros, time_limit
from keyscope.contract.tables import KEY, MANIFEST, STACK, Column, Table, publish
from keyscope.contract.texts import first_line
from keyscope.contract.twin import TWIN, twin_path
from keyscope.contract.validation import sentence

SCHEMA_VERSION = 1
"""Raised only when a column or table changes its meaning: readers see new ones as NULL or empty in older files."""


class RunFileError(KeyscopeError, code="unreadable_run", status=409):
    """The file is not a run file, or not one this version can read."""


class OtherSchemaVersion(RunFileError):
    """The run file has a schema version this Keyscope does not read."""


WEIGHT_STATISTICS = (
    Column("norm_key", "FLOAT", "Length of the key vector; in gated layers, of the gate's row"),
    Column("norm_up", "FLOAT", "Length of the up projection's row; gated layers only"),
    Column("bias", "FLOAT", "Bias of the key, if the layer has one"),
    Column("norm_value", "FLOAT", "Length of the value vector"),
    Column(
        "cos_key_value", "FLOAT", "Cosine of key and value: above 0 the key writes what it reads, below 0 it erases it"
    ),
    Column("cos_up_value", "FLOAT", "Cosine of the up row and the value; gated layers only"),
    Column("cos_gate_up", "FLOAT", "Cosine of gate and up rows; gated layers only"),
    Column("vocab_mean", "FLOAT", "Mean over the vocabulary of the cosine of value and output embedding"),
    Column("vocab_variance", "FLOAT", "Variance of that cosine: how far the value moves logits apart"),
    Column(
        "vocab_skewness",
        "FLOAT",
        "Skewness of that cosine: above 0 the value promotes a few tokens, below 0 it suppresses a few",
    ),
    Column(
        "vocab_kurtosis",
        "FLOAT",
        "Kurtosis of that cosine (3 for a normal distribution): above 10 the value affects only a few tokens",
    ),
    Column(
        "max_probability",
        "FLOAT",
        "Largest probability in softmax(E v), the next-token distribution of the value alone",
    ),
    Column("unigram_correlation", "FLOAT", "Correlation of E v with the log frequency of each token in the corpus"),
    Column("null_share", "FLOAT", "Share of the value's length in directions that barely affect the logits"),
    Column(
        "folded_variance",
        "FLOAT",
        "Variance over the vocabulary of the cosine of the value as the final norm passes it on with the output embedding, the norm's gain folded in and its mean over the vocabulary taken off",
    ),
    Column(
        "folded_skewness",
        "FLOAT",
        "Skewness of that cosine: above 0 the value promotes a few tokens, below 0 it suppresses a few",
    ),
    Column(
        "folded_kurtosis",
        "FLOAT",
        "Kurtosis of that cosine (3 for a normal distribution): above 10 the value affects only a few tokens",
    ),
    Column("folded_null_share", "FLOAT", "Share of that value's length in directions that barely affect predictions"),
)
"""Columns computed from the weights alone, except that one also needs token counts."""

MOMENTS = (
    Column("n", "UBIGINT", "Tokens counted, without BOS and padding"),
    Column("firing_rate", "FLOAT", "Share of tokens with a coefficient above 0"),
    Column("mean", "FLOAT", "Mean coefficient"),
    Column("variance", "FLOAT", "Variance of the coefficient"),
    Column("skewness", "FLOAT", "Skewness of the coefficient"),
    Column(
        "kurtosis",
        "FLOAT",
        "Kurtosis of the coefficient (3 for a normal distribution): high if the key is silent on all but a few tokens",
    ),
    Column("minimum", "FLOAT", "Smallest coefficient in the corpus"),
    Column("maximum", "FLOAT", "Largest coefficient in the corpus"),
    Column("mean_abs", "FLOAT", "Mean absolute coefficient"),
)
"""Columns computed in one pass over the corpus."""

KEY_STATISTICS = (
    Column(
        "contribution", "FLOAT", "Mean |coefficient| times the length of the value: how much the key writes on average"
    ),
    Column("dead", "BOOLEAN", "The coefficient is never above 0 in the corpus"),
    Column("top_language", "VARCHAR", "Language in which the key fires most often"),
    Column(
        "language_entropy",
        "FLOAT",
        "Entropy of the firing rates over languages, in nats: 0 if the key fires in one language only",
    ),
    Column(
        "sink_share",
        "FLOAT",
        "Share of windows in which the key's largest |coefficient| lies on an attention sink, a token whose residual is over ten times as long as the median; of a sample, and with the tokens that do not count",
    ),
    Column(
        "distinct_tokens", "FLOAT", "Number of different trigger tokens divided by the number of strongest triggers"
    ),
    Column("top_token_id", "INTEGER", "Most common trigger token"),
    Column("top_token_share", "FLOAT", "Share of the strongest triggers on the most common trigger token"),
    Column(
        "kv_agreement",
        "BOOLEAN",
        "The value's most promoted token is the one that follows the strongest trigger (Geva et al. 2021)",
    ),
    Column("kv_precision", "FLOAT", "Share of the strongest triggers followed by the value's most promoted token"),
)
"""Columns computed from the others and from the triggers."""

_EXAMPLE = (
    Column("coefficient", "FLOAT", "Coefficient at the trigger token"),
    Column("window_id", "UINTEGER"),
    Column("position", "USMALLINT", "Index of the trigger token in the window's token_ids, from 0"),
    Column("line", "UINTEGER", "Line of the trigger token in its file, from 1"),
    Column("column", "UINTEGER", "Column of the trigger token in characters, from 0"),
    Column("scale", "FLOAT", "Factor that turns the numbers in `context` into coefficients"),
    Column(
        "context",
        "BLOB",
        "Little-endian float16, one number per token from `context` tokens before the trigger to as many after it; NaN outside the window",
    ),
)

KEYS = Table("keys", (*KEY, STACK, *WEIGHT_STATISTICS, *MOMENTS, *KEY_STATISTICS), ("layer", "index"))
LANGUAGE_STATISTICS = Table(
    "language_statistics", (*KEY, Column("language", "VARCHAR"), *MOMENTS), ("layer", "index", "language")
)
HISTOGRAMS = Table(
    "histograms",
    (
        *KEY,
        Column("language", "VARCHAR"),
        Column("tokens", "UBIGINT[]", "Coefficients of sampled tokens, counted per bin of contract.bins"),
        Column("windows", "UBIGINT[]", "Largest coefficient of every window, counted per bin"),
    ),
    ("layer", "index", "language"),
)
TRIGGERS = Table(
    "triggers",
    (
        *KEY,
        Column("language", "VARCHAR"),
        Column("polarity", "VARCHAR"),
        Column("rank", "USMALLINT"),
        *_EXAMPLE,
        Column(
            "files",
            "UINTEGER",
            "Files in which the same ten tokens end at the key, among those with its highest coefficients; the trigger is their strongest",
        ),
        Column(
            "places",
            'STRUCT(file_id UINTEGER, line UINTEGER, "column" UINTEGER)[]',
            "The strongest places in further ones of these files, at most three",
        ),
    ),
    ("layer", "index", "language", "polarity", "rank"),
)
SAMPLES = Table(
    "samples",
    (
        *KEY,
        Column("language", "VARCHAR"),
        Column(
            "band",
            "VARCHAR",
            "90-100 to 0-10 (percentiles among the windows the key fires in), random (any window) or silent (a window in which it never fires)",
        ),
        Column("rank", "USMALLINT"),
        *_EXAMPLE,
        Column(
            "quantile",
            "FLOAT",
            "Share of the windows the key fires in whose largest coefficient is smaller; 0 if it is silent",
        ),
    ),
    ("layer", "index", "language", "band", "rank"),
)
FIRES_ON = Table(
    "fires_on",
    (
        *KEY,
        Column("rank", "USMALLINT"),
        Column("token_id", "INTEGER"),
        Column("count", "UINTEGER", "Stored triggers and samples with a coefficient above 0 on this token"),
    ),
    ("layer", "index", "rank"),
)
VALUE_TOKENS = Table(
    "value_tokens",
    (
        *KEY,
        Column("projection", "VARCHAR", "normed: through the final norm's gain, L(v); raw: E v"),
        Column("direction", "VARCHAR", "promoted or suppressed"),
        Column("rank", "USMALLINT"),
        Column("token_id", "INTEGER"),
        Column("logit", "FLOAT"),
    ),
    ("layer", "index", "projection", "direction", "rank"),
)
WINDOWS = Table(
    "windows",
    (
        Column("window_id", "UINTEGER"),
        Column("file_id", "UINTEGER"),
        Column("start", "UINTEGER", "Index of the window's first token in its file, BOS not counted"),
        Column("line", "UINTEGER", "Line of that token, from 1"),
        Column("column", "UINTEGER", "Column of that token in characters, from 0"),
        Column("token_ids", "INTEGER[]"),
        Column(
            "decoded",
            "BOOLEAN[]",
            "Which tokens the decoder was given, the others being the encoder's; empty where one stack reads them all",
        ),
        Column("parts", "BLOB", "What each token is as code, a byte each, numbered as `code_parts.Part`"),
    ),
    ("window_id",),
)
FILES = Table(
    "files",
    (
        Column("file_id", "UINTEGER"),
        Column("language", "VARCHAR"),
        Column("source", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("sha256", "VARCHAR"),
        Column("n_tokens", "UINTEGER"),
        Column("project", "VARCHAR", "Repository, archive, package, module or folder the file belongs to"),
    ),
    ("file_id",),
)
TOKENS = Table(
    "tokens",
    (
        Column("token_id", "INTEGER"),
        Column("bytes", "BLOB", "The token's exact bytes"),
        Column("special", "BOOLEAN", "A control token, never part of a file"),
        Column("count", "UBIGINT", "Occurrences in the corpus"),
    ),
    ("token_id",),
)

TABLES = (
    MANIFEST,
    KEYS,
    LANGUAGE_STATISTICS,
    HISTOGRAMS,
    TRIGGERS,
    SAMPLES,
    FIRES_ON,
    VALUE_TOKENS,
    WINDOWS,
    FILES,
    TOKENS,
)
"""What a precompute writes."""

TOKEN_KEYS = Table(
    "token_keys",
    (
        Column(
            "relation", "VARCHAR", "promoted or suppressed: by the value, through the final norm's gain; or fires_on"
        ),
        Column("token_id", "INTEGER"),
        *KEY,
        Column("rank", "USMALLINT", "Place of the token in the key's list"),
        Column("amount", "FLOAT", "The logit, or how many stored triggers and samples fire on the token"),
    ),
    ("relation", "token_id", "layer", "index"),
)
"""`value_tokens` and `fires_on` indexed by token, so a search does not have to scan them."""
KEY_SUMMARIES = Table(
    "key_summaries",
    (
        *KEY,
        Column(
            "language",
            "VARCHAR",
            "Language of the key's strongest trigger, as are all fields up to `column`; empty for a key without triggers",
        ),
        Column("coefficient", "FLOAT"),
        Column("window_id", "UINTEGER"),
        Column("position", "USMALLINT"),
        Column("line", "UINTEGER"),
        Column("column", "UINTEGER"),
        Column("promoted", "INTEGER[]", "Tokens the value promotes most, through the final norm's gain"),
        Column("logits", "FLOAT[]"),
    ),
    ("layer", "index"),
)
"""What a list shows of a key, in one row: its strongest trigger and the tokens its value promotes."""
LISTED = 5
"""Promoted tokens in a summary."""

_OF_VALUES_AND_TRIGGERS = """
    SELECT direction AS relation, token_id, layer, "index", rank, logit AS amount
    FROM value_tokens WHERE projection = 'normed'
    UNION ALL
    SELECT 'fires_on', token_id, layer, "index", rank, "count" FROM fires_on"""
_OF_KEYS = f"""
    SELECT k.layer, k."index", t.language, t.coefficient, t.window_id, t.position, t.line, t."column", v.promoted, v.logits
    FROM keys k
    LEFT JOIN (
        SELECT * FROM triggers WHERE polarity = 'max' AND rank = 1
        QUALIFY row_number() OVER (PARTITION BY layer, "index" ORDER BY coefficient DESC, language) = 1
    ) t USING (layer, "index")
    LEFT JOIN (
        SELECT layer, "index", list(token_id ORDER BY rank) AS promoted, list(logit ORDER BY rank) AS logits
        FROM value_tokens WHERE projection = 'normed' AND direction = 'promoted' AND rank <= {LISTED}
        GROUP BY layer, "index"
    ) v USING (layer, "index")"""  # noqa: S608 - a constant
DERIVED = ((TOKEN_KEYS, _OF_VALUES_AND_TRIGGERS), (KEY_SUMMARIES, _OF_KEYS))
"""Tables derived from the others for fast reading, each with the SELECT that computes it."""
_ALL = (*TABLES, *(table for table, _ in DERIVED), KEY_DOCUMENTS)


_FILE = "run_file"
"""The name a run file is attached under."""
_TWIN_FILE = "twin_file"
_ROWID = Column("rowid", "BIGINT")


def create(path: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Create a run file: empty tables on entry, published under its final name on a clean exit.

    Raises:
        FileExists: a run file of that name exists; they are never overwritten.
    """
    return publish(path, _ALL)


def write_derived(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill the derived tables; call it once, after all others are written."""
    for table, select in DERIVED:
        order = ", ".join(f'"{column}"' for column in table.sorted_by)
        connection.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM ({select}) ORDER BY {order}")  # noqa: S608
    write_documents(connection)


def write_manifest(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    """Write the manifest row; call it once, before the file is published."""
    insert = "INSERT INTO manifest (schema_version, document) VALUES (?, ?)"
    connection.execute(insert, [SCHEMA_VERSION, manifest.model_dump_json()])


def open_run(path: Path, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a run file and its analyses read-only, with no access to other files and the configuration locked.

    Every table of the run and of each kind of analysis is there under its name with all columns of the contract: NULL
    where a file is older than the column, empty where it is older than the table or the analysis is not computed. The
    table `analyses` lists the analyses found. The run's own tables are in the schema `run` as well, with their `rowid`.
    The same tables of the run's twin, its analyses included, are in the schema `twin`, empty where there is none.
    One connection serves a process; take a `.cursor()` for each request.

    The file is not trusted: whatever is wrong with it is a RunFileError, and nothing in it is executed.

    Raises:
        FileNotFoundError: the file does not exist.
        OtherSchemaVersion: this Keyscope does not read the file's schema version.
        RunFileError: the file is not a run file.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    twin = twin_path(path)
    analyses, of_twin = analysis_files(path), analysis_files(twin)
    connection = None
    try:
        connection = connect_to([path, twin, *(file for _, _, file in (*analyses, *of_twin))], threads)
        with time_limit(connection):
            stored = attach(connection, path, _FILE, _ALL)
            refuse_macros(connection, _FILE)
            _check_version(connection, path)
            manifest = _check_manifest(connection)
            _lay_views(connection, stored, manifest.model.stack)
        attach_analyses(connection, manifest, analyses)
        twin_manifest = _lay_twin(connection, manifest, twin)
        attach_analyses(connection, twin_manifest or manifest, of_twin if twin_manifest else (), TWIN)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, RunFileError) or not isinstance(error, Exception):
            raise
        raise RunFileError(f"{path.name} is not a run file of Keyscope: {first_line(error)}") from error
    return connection


def _lay_views(connection: duckdb.DuckDBPyConnection, stored: Columns, stack: str) -> None:
    """Lay the contract's tables over what the file has: `run.NAME` with `rowid`, and `NAME` without."""
    connection.execute("CREATE SCHEMA run")
    for each in (*TABLES, KEY_DOCUMENTS):
        with_rowid = replace(each, columns=(_ROWID, *each.columns))
        connection.execute(f"CREATE VIEW run.{each.name} AS {with_rowid.select_from(_FILE, stored, stack)}")
        connection.execute(f"CREATE VIEW {each.name} AS {each.select_from(_FILE, stored, stack)}")
    for each, select in DERIVED:
        # computed where the file is older than the table or one of its columns: slower, and never NULL
        complete = stored.get(each.name, set()).issuperset(each.names)
        computed = f"SELECT *, '{stack}' AS stack FROM ({select})"  # noqa: S608 - constants
        found = each.select_from(_FILE, stored, stack) if complete else computed
        connection.execute(f"CREATE VIEW {each.name} AS {found}")


def _lay_twin(connection: duckdb.DuckDBPyConnection, run: Manifest, path: Path) -> Manifest | None:
    """Lay the contract's tables over a run's twin, in a schema of its own; return the twin's manifest.

    A twin that cannot be used is listed with the reason among the analyses, and its tables are empty.
    """
    manifest = None
    stored: Columns = {}
    try:
        if path.is_file():
            with time_limit(connection):
                found = attach(connection, path, _TWIN_FILE, (*TABLES, *(table for table, _ in DERIVED)))
                refuse_macros(connection, _TWIN_FILE)
                manifest = _belonging(connection, run)
                stored = found
    except Exception as error:  # whatever is in the file, only the twin is lost
        problem = f"{path.name} cannot be used: {first_line(error)}"
        connection.execute("INSERT INTO analyses VALUES (?, NULL, NULL, ?)", [TWIN, problem])
    connection.execute(f"CREATE SCHEMA {TWIN}")
    for each in (*TABLES, *(table for table, _ in DERIVED)):
        connection.execute(f"CREATE VIEW {TWIN}.{each.name} AS {each.select_from(_TWIN_FILE, stored, run.model.stack)}")
    return manifest


def _belonging(connection: duckdb.DuckDBPyConnection, run: Manifest) -> Manifest:
    """The manifest of the attached twin.

    Raises:
        Unusable: it is not the twin of this run, or has another schema version.
    """
    version, document = read_document(connection, _TWIN_FILE)
    if version != SCHEMA_VERSION:
        raise Unusable(
            f"it has schema version {version}, this Keyscope reads version {SCHEMA_VERSION}: compute it again"
        )
    twin = Manifest.model_validate_json(document)
    if not twin.is_twin_of(run):
        raise Unusable(f"it is not the twin of {run.run_id}")
    return twin


def _check_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version, _ = read_document(connection, _FILE)
    if version != SCHEMA_VERSION:
        raise OtherSchemaVersion(
            f"{path.name} has schema version {version}, this Keyscope reads version {SCHEMA_VERSION}: "
            "compute the run again with this version, or open it with the version that wrote it"
        )


def _check_manifest(connection: duckdb.DuckDBPyConnection) -> Manifest:
    try:
        return _manifest_of(connection, _FILE)
    except ValidationError as error:
        raise Unusable(f"its manifest is not valid: {sentence(error.errors())}") from error


def read_manifest(connection: duckdb.DuckDBPyConnection) -> Manifest:
    """The manifest of an open run file."""
    return _manifest_of(connection, "run")


def read_twin(connection: duckdb.DuckDBPyConnection) -> Manifest | None:
    """The manifest of an open run's twin; None if it has none."""
    query = f"SELECT document FROM {TWIN}.{MANIFEST.name}"  # noqa: S608 - our own names
    found = connection.execute(query).fetchone()
    return Manifest.model_validate_json(found[0]) if found else None


def _manifest_of(connection: duckdb.DuckDBPyConnection, database: str) -> Manifest:
    return Manifest.model_validate_json(read_document(connection, database)[1])
