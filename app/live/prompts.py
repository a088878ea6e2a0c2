"""Prompts to try, chosen so that the demo model continues each with good code."""

from collections.abc import Sequence
from dataclasses import dataclass

_SIZE = """\
func size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

"""
_NAMES = """\
public class Names {
    private final List<String> names = new ArrayList<>();

    public int size() {
        return names.size();
    }

"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Code that stops just after a construct begins."""

    name: str
    """Its name in addresses."""
    title: str
    language: str
    text: str
    concept: str | None = None
    """The shipped concept that its next token belongs to."""


PROMPTS = (
    Prompt(
        "numpy",
        "numpy",
        "python",
        "import numpy as np\n\n\ndef ones(n):\n    return np.ones(n)\n\n\ndef zeros(n):\n    return np.",
        "numpy",
    ),
    Prompt("range", "range", "python", "def squares(n):\n    result = []\n    for i in", "loops"),
    Prompt(
        "raise",
        "raise",
        "python",
        "def length(text):\n    if not isinstance(text, str):\n        raise",
        "error-handling",
    ),
    Prompt("is-none", "is None", "python", "def length(text):\n    if text is"),
    Prompt(
        "static-method",
        "static method",
        "java",
        "public class Main {\n    private static int twice(int value) {\n        return 2 * value;\n    }\n\n    public static",
    ),
    Prompt("new-list", "new list", "java", f"{_NAMES}    public void clear() {{\n        names = new"),
    Prompt(
        "null-check",
        "null check",
        "java",
        'public static int length(String text) {\n    if (text == null) {\n        throw new IllegalArgumentException("text is null");\n'
        "    }\n    return text.length();\n}\n\npublic static String trim(String text) {\n    if (text == null) {\n        throw new",
        "error-handling",
    ),
    Prompt("error-type", "error type", "go", f"{_SIZE}func read(path string) ([]byte,", "error-handling"),
    Prompt(
        "return-err",
        "return err",
        "go",
        f"{_SIZE}func read(path string) ([]byte, error) {{\n\tdata, err := os.ReadFile(path)\n\tif err != nil {{\n\t\treturn nil,",
        "error-handling",
    ),
    Prompt(
        "defer-close",
        "defer close",
        "go",
        f"{_SIZE}func read(path string) ([]byte, error) {{\n\tfile, err := os.Open(path)\n\tif err != nil {{\n\t\treturn nil, err\n\t}}\n"
        "\tdefer file.",
        "file-io",
    ),
)


def prompts_of(languages: Sequence[str]) -> list[Prompt]:
    """The prompts in some languages, in the order of the languages."""
    return [prompt for language in languages for prompt in PROMPTS if prompt.language == language]
