import pytest

from keyscope.app.accounts.identity import Forbidden
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import comments
from keyscope.app.labels.comments import CommentChanged, UnknownComment
from keyscope.app.labels.repository import Target
from keyscope.contract.keys import KeyId

TARGET = Target("a" * 64, KeyId(1, 2))
ELSEWHERE = Target("a" * 64, KeyId(1, 3))


def write(database: Database, person: str = "Ada", text: str = "opens *calls*", target: Target = TARGET) -> int:
    return database.write(lambda session: comments.write(session, target, person, text).comment.id)


def shown(database: Database, target: Target = TARGET) -> list[tuple[str, str, bool]]:
    with database.transaction() as session:
        return [(each.comment.person, each.text.text, each.edited) for each in comments.comments_of(session, target)]


def test_comments_stand_on_their_key_in_the_order_they_were_written(database: Database):
    write(database)
    write(database, "Ben", "and `(`\r\n too")
    write(database, target=ELSEWHERE)
    assert shown(database) == [("Ada", "opens *calls*", False), ("Ben", "and `(`\n too", False)]


def test_a_change_keeps_the_words_before_it(database: Database):
    number = write(database)
    database.write(lambda session: comments.change(session, TARGET, number, "Ada", "closes them", seen=1))
    assert shown(database) == [("Ada", "closes them", True)]
    with database.transaction() as session:
        assert [each.text for each in comments.versions(session, TARGET, number)] == ["opens *calls*", "closes them"]


def test_a_change_of_words_not_seen_is_refused(database: Database):
    number = write(database)
    database.write(lambda session: comments.change(session, TARGET, number, "Ada", "second", seen=1))
    with pytest.raises(CommentChanged, match="second"):
        database.write(lambda session: comments.change(session, TARGET, number, "Ada", "third", seen=1))
    assert shown(database)[0][1] == "second"


def test_a_comment_is_its_authors(database: Database):
    number = write(database)
    with pytest.raises(Forbidden, match="Ada's"):
        database.write(lambda session: comments.change(session, TARGET, number, "Ben", "mine", seen=1))
    with pytest.raises(Forbidden):
        database.write(lambda session: comments.take_back(session, TARGET, number, "Ben"))
    database.write(lambda session: comments.take_back(session, TARGET, number, "Ben", may_all=True))
    assert shown(database) == []


def test_a_comment_of_another_key_or_taken_back_is_unknown(database: Database):
    number = write(database)
    for target, which in ((ELSEWHERE, number), (TARGET, number + 1)):
        with pytest.raises(UnknownComment):
            database.write(lambda s, target=target, which=which: comments.take_back(s, target, which, "Ada"))
    database.write(lambda session: comments.take_back(session, TARGET, number, "Ada"))
    with pytest.raises(UnknownComment):
        database.write(lambda session: comments.change(session, TARGET, number, "Ada", "again", seen=1))


@pytest.mark.parametrize("text", ["", " \n", "x" * 10_001, "a\0b"])
def test_a_comment_says_something(database: Database, text: str):
    with pytest.raises(InvalidParameter, match="10,000 characters"):
        write(database, text=text)
    assert shown(database) == []
