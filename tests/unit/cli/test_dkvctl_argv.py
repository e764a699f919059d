"""What dkvctl understands: every name of every command, the oldest form, and what it refuses."""

import pytest

from dkv.cli.ctl.argv import plan
from dkv.cli.ctl.invocation import UsageError
from dkv.cli.ctl.table import COMMANDS

UNDERSTOOD = [
    ("--set k v", "set", ["k", "v"]),
    ("-set k v", "set", ["k", "v"]),
    ("-s k v", "set", ["k", "v"]),
    ("--set=k v", "set", ["k", "v"]),
    ("--set k -a h:1 v", "set", ["k", "v"]),
    ("--set k -- -5", "set", ["k", "-5"]),
    ("--set -5 v", "set", ["-5", "v"]),
    ("-s a:b c", "set", ["a:b", "c"]),
    ("-set a:b c", "set", ["a:b", "c"]),
    ("--get k", "get", ["k"]),
    ("-get k", "get", ["k"]),
    ("-g k", "get", ["k"]),
    ("-get -x", "get", ["-x"]),
    ("--get=", "get", [""]),
    ("--del k", "del", ["k"]),
    ("-del k", "del", ["k"]),
    ("-d k", "del", ["k"]),
    ("--iter *", "iter", ["*"]),
    ("-iter p p1", "iter", ["p", "p1"]),
    ("-i p", "iter", ["p"]),
    ("--keys *", "keys", ["*"]),
    ("-k p p1", "keys", ["p", "p1"]),
    ("--backup /p", "backup", ["/p"]),
    ("-restore /p", "restore", ["/p"]),
    ("--addNode u", "addNode", ["u"]),
    ("-removeNode u", "removeNode", ["u"]),
    ("--listNodes", "listNodes", []),
    ("--clusterInfo", "clusterInfo", []),
    ("--clusterInfo dc db vb", "clusterInfo", ["dc", "db", "vb"]),
    ("--clusterInfo=dc db", "clusterInfo", ["dc", "db"]),
    ("-getClusterInfo dc", "clusterInfo", ["dc"]),
    ("--mget a b c", "mget", ["a", "b", "c"]),
    ("--mput a 1 b 2", "mput", ["a", "1", "b", "2"]),
    ("--cas k old new", "cas", ["k", "old", "new"]),
    ("--ttl k", "ttl", ["k"]),
    ("--ttl k 60", "ttl", ["k", "60"]),
]


@pytest.mark.parametrize(("line", "name", "arguments"), UNDERSTOOD)
def test_command_in_every_spelling_is_understood(line: str, name: str, arguments: list[str]) -> None:
    """Long names with one dash or two, shorthands, attached values, and options in between."""
    ((command, given),) = plan(line.split(" ")).steps
    assert (command.name, given) == (name, arguments)


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("get k", "get", ["k"]),
        ("set k v", "set", ["k", "v"]),
        ("-a h:1 set k v --json", "set", ["k", "v"]),
        ("set -- -k -v", "set", ["-k", "-v"]),
        ("get set", "get", ["set"]),
        ("clusterInfo dc", "clusterInfo", ["dc"]),
        ("getClusterInfo", "clusterInfo", []),
        ("stats", "stats", []),
        ("--health", "health", []),
        ("-top", "top", []),
    ],
)
def test_command_without_dashes_is_the_first_word(line: str, name: str, arguments: list[str]) -> None:
    """On a line without a dashed command, which meant nothing to the original."""
    ((command, given),) = plan(line.split(" ")).steps
    assert (command.name, given) == (name, arguments)


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("get --set k", "set", ["k", "get"]),
        ("v --set k", "set", ["k", "v"]),
        ("keys -i p", "iter", ["p", "keys"]),
        ("set -get k -set x:y", "set", ["x:y", "set"]),
        ("set -mget k", "mget", ["k", "set"]),
    ],
)
def test_loose_words_beside_a_dashed_command_stay_its_arguments(line: str, name: str, arguments: list[str]) -> None:
    """Even when they are names of commands: lines of the original mean what they always did."""
    ((command, given),) = plan(line.split(" ")).steps
    assert (command.name, given) == (name, arguments)


@pytest.mark.parametrize("line", ["get -d k", "set k -d v", "del k -d x", "ttl k -d x"])
def test_dashed_delete_behind_a_word_is_refused(line: str) -> None:
    """A slip of the dash deletes nothing."""
    with pytest.raises(UsageError, match=r"^Error: Invalid Syntax"):
        plan(line.split(" "))


@pytest.mark.parametrize(("line", "action"), [("help", "help"), ("version", "version"), ("-a h:1 help", "help")])
def test_help_without_dashes_is_help(line: str, action: str) -> None:
    """As a single word."""
    assert plan(line.split(" ")).action == action


@pytest.mark.parametrize("address", ["-a h:1", "--dkvAddr h:1", "-dkvAddr h:1", "-dkvAddr=h:1", "--dkvAddr=h:1"])
def test_address_in_every_spelling_is_an_option(address: str) -> None:
    """No spelling of the address can become a delete."""
    asked = plan([*address.split(" "), "--get", "k"])
    assert asked.options.address == "h:1"
    assert [command.name for command, _ in asked.steps] == ["get"]


def test_options_on_the_line_are_taken() -> None:
    """Limit, order and authority."""
    options = plan(["--iter", "*", "--limit", "5", "--reverse", "--authority", "x"]).options
    assert (options.limit, options.reverse, options.authority, options.address) == (5, True, "x", "127.0.0.1:8080")
    assert options.acknowledgement == "quorum"
    for words in (["--ack", "all"], ["-ack=ALL"], ["--acknowledgement", "All"]):
        assert plan(["--set", "k", "v", *words]).options.acknowledgement == "all"
    assert not options.json
    assert plan(["--json", "get", "k"]).options.json
    assert not plan(["--json=false", "get", "k"]).options.json


@pytest.mark.parametrize("line", ["-set k:v -get k", "-get k -set k:v", "-set=k:v --get k"])
def test_oldest_pair_runs_set_then_get(line: str) -> None:
    """Both commands of the pair run, the set first."""
    steps = plan(line.split(" ")).steps
    assert [(command.name, command.count_max, given) for command, given in steps] == [
        ("set", 1, ["k:v"]),
        ("get", 1, ["k"]),
    ]


def test_several_commands_on_a_line_run_the_first_of_the_table() -> None:
    """As the original: the order of the table decides, not that of the line."""
    ((command, given),) = plan(["--get", "x", "--del", "y"]).steps
    assert (command.name, given) == ("del", ["y"])


@pytest.mark.parametrize("text", ["kv", "k:v:w", ""])
def test_oldest_set_malformed_is_refused(text: str) -> None:
    """Exactly one colon."""
    with pytest.raises(UsageError, match=f"^Expected in key:value format for set. Given: {text}$"):
        plan(["-set", text])


@pytest.mark.parametrize(
    "line",
    ["--set k", "-s k:v", "--set a b c", "--get a b",
     "-d a b", "--iter a b c", "--listNodes x", "--mput a", "--mput a 1 b",
     "--cas a b", "--ttl a 1 2", "--clusterInfo a b c d", "--backup a b"],
)  # fmt: skip
def test_wrong_argument_count_shows_the_usage_of_the_command(line: str) -> None:
    """The text people know, then the command with its arguments."""
    with pytest.raises(UsageError, match=r"^Error: Invalid Syntax. Usage of dkvctl:\n  --\w+"):
        plan(line.split())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--dkvaddr x", "unknown flag: --dkvaddr"),
        ("-dkv", "unknown flag: -dkv"),
        ("-dk", "unknown flag: -dk"),
        ("-d=k", "unknown flag: -d=k"),
        ("--d k", "unknown flag: --d"),
        ("---get k", "unknown flag: ---get"),
        ("--set k -5", "unknown flag: -5"),
        ("--get", "flag needs an argument: --get"),
        ("--iter * --limit x", "invalid limit: x"),
        ("--set k v --ack some", "invalid acknowledgement: some, must be quorum, all, fast"),
        ("--set k v --ack", "flag needs an argument: --ack"),
        ("--iter * --limit 9999999999999999999", "invalid limit: "),
        ("--reverse=maybe --keys *", "unknown flag: --reverse=maybe"),
        ("-a h:1", "no command given"),
        ("k v", "unknown command: k"),
    ],
)
def test_line_not_understood_is_refused(line: str, text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UsageError) as refusal:
        plan(line.split())
    assert str(refusal.value).startswith(text)


def test_table_names_are_unique() -> None:
    """No name or shorthand belongs to two commands."""
    names = [name for command in COMMANDS for name in (command.name, command.shorthand, command.alias) if name]
    assert len(names) == len(set(names))
