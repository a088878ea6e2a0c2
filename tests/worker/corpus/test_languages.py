import pytest

from keyscope.worker.corpus.languages import UnknownLanguage, check_languages, language_of


def test_the_suffix_decides_whatever_its_case():
    assert [language_of(path) for path in ("a/b.py", "B.JAVA", "c.Go")] == ["python", "java", "go"]


def test_other_files_have_no_language():
    assert [language_of(path) for path in ("a.pyc", "py", ".py", "a.py/readme", "go.mod")] == [None] * 5


def test_languages_keep_the_order_asked_for_and_count_once():
    assert check_languages(["go", "python", "go"]) == ("go", "python")


@pytest.mark.parametrize("names", [["python", "cobol"], []])
def test_an_unknown_language_is_named_with_the_known_ones(names):
    with pytest.raises(UnknownLanguage, match="choose from python, java, go"):
        check_languages(names)
