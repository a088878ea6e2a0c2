"""Prompts to try on the live page, by language."""

PROMPTS: dict[str, dict[str, str]] = {
    "python": {
        "numpy": "import numpy as np\n\n\ndef identity(n):\n    return np.",
        "for loop": "def total(values):\n    result = 0\n    for",
        "class": "class Point:\n    def __init__(self, x, y):\n        self.",
    },
    "java": {
        "public static": "public class Main {\n    public static",
        "for each": "public void print(List<String> names) {\n    for (String name :",
        "null check": "if (value == null) {\n    throw new",
    },
    "go": {
        "if err != nil": "func read(path string) ([]byte, error) {\n\tdata, err := os.ReadFile(path)\n\tif err",
        "range": "sum := 0\nfor _, value := range",
        "struct": "type Point struct {\n\tX",
    },
}
"""Language → title → prompt; each stops just after a construct begins."""
