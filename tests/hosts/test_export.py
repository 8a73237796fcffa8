"""What is written for a host, read as the host reads it."""

from __future__ import annotations

import json
import shlex
import subprocess
from datetime import date
from pathlib import Path

import pytest
import yaml
from helpers.commands import command
from helpers.host_readers import read_modelfile, read_preset
from hypothesis import example, given
from hypothesis import strategies as st

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.hosts import HOSTS, Export, Wishes, export_pair, find_host, writers
from gemma_mtp.hosts.record import CommandLine, Folder, Modelfile, Preset, YamlFile
from gemma_mtp.hosts.values import Values

BY_NAME = {host.name: host for host in HOSTS}
GGUF_HOSTS = [host.name for host in HOSTS if host.runtime]
CHECKPOINT_HOSTS = [host.name for host in HOSTS if not host.runtime]
#: Hosts whose llama.cpp drafts nothing unless it is told the type.
TOLD_THE_TYPE = [host.name for host in HOSTS if host.runtime == "llama.cpp"]
#: Characters that mean something to one of the formats.
AWKWARD = "it's $HOME & (a) \\ test {x} [y] 100% é"


@pytest.fixture(scope="module")
def awkward_pair(pair, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("awkward") / AWKWARD
    folder.mkdir()
    paths = folder / "the target.gguf", folder / "mtp-the target.gguf"
    for path, file in zip(paths, pair, strict=True):
        path.symlink_to(file)
    return paths


def exported(name: str, pair, **wishes) -> Export:
    found = export_pair(name, str(pair[0]), str(pair[1]), Wishes(**wishes))
    assert found.report.ok, found.report.verdict
    return found


def words(export: Export) -> list[list[str]]:
    return [shlex.split(line) for line in export.text.splitlines()]


def after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_a_record_says_since_when_and_where_that_was_looked_up(host):
    assert host.since
    assert host.source
    assert host.expect
    assert date(2026, 1, 1) < host.checked <= date.today()


def test_names_are_found_and_guessed():
    assert find_host("ollama@0.32.7")[1].version == (0, 32, 7)
    with pytest.raises(UsageError) as error:
        find_host("olama")
    assert "ollama" in (error.value.hint or "")


@pytest.mark.parametrize("name", TOLD_THE_TYPE)
def test_the_type_is_never_forgotten(name, pair):
    assert "draft-mtp" in exported(name, pair).text


@pytest.mark.parametrize("name", [name for name in GGUF_HOSTS if isinstance(BY_NAME[name].form, CommandLine)])
def test_commands_are_whole_words_whatever_the_path(name, awkward_pair):
    export = exported(name, awkward_pair, ctx=512, draft=2)
    commands = words(export)
    flat = [word for command in commands for word in command]
    folder = str(awkward_pair[0].parent)
    assert any(word in (str(awkward_pair[0]), f"file://{awkward_pair[0]}", folder) for word in flat)
    assert any(word in (str(awkward_pair[1]), f"file://{awkward_pair[1]}") for word in flat)
    assert "512" in flat
    assert "2" in flat
    assert len(words(exported(name, awkward_pair))[-1]) <= len(commands[-1])


@pytest.mark.parametrize("name", GGUF_HOSTS)
def test_without_a_context_nothing_is_said_about_it(name, pair):
    assert "ctx" not in exported(name, pair).text.replace("--ctx-size", "ctx-size").split("\n")[0].split("ctx-size")[0]
    assert "None" not in exported(name, pair).text


def test_the_preset_is_read_by_the_routers_rules(pair, tmp_path):
    file = tmp_path / "preset.ini"
    export = exported("llama-router", pair, ctx=512, draft=2, output=file)
    export.write()
    assert read_preset(file.read_text()) == {
        pair[0].stem: {
            "model": str(pair[0]),
            "model-draft": str(pair[1]),
            "spec-type": "draft-mtp",
            "spec-draft-n-max": "2",
            "ctx-size": "512",
            "parallel": "1",
        }
    }
    assert export.then == (f"llama-server --models-preset {shlex.quote(str(file))}",)


@given(st.text(min_size=1).map(lambda text: f"/{text}"))
def test_a_preset_holds_a_path_as_it_is_or_refuses_it(path):
    form = BY_NAME["llama-router"].form
    assert isinstance(form, Preset)
    try:
        text = writers.preset(form, Values(path, "/a.gguf", 3))
    except UsageError:
        return
    (section,) = read_preset(text).values()
    assert section["model"] == path


@given(st.text(min_size=1).map(lambda text: f"/{text}"))
def test_a_modelfile_holds_a_path_as_it_is_or_refuses_it(path):
    form = BY_NAME["ollama"].form
    assert isinstance(form, Modelfile)
    try:
        text = writers.modelfile(form, Values(path, "/a.gguf", 3))
    except UsageError:
        return
    assert dict(read_modelfile(text))["model"] == path


@given(st.text(min_size=1).map(lambda text: f"/{text}"))
@example("/\x85")  # PyYAML quotes it, and reads a space
def test_yaml_holds_a_path_as_it_is_or_refuses_it(path):
    form = BY_NAME["llama-swap"].form
    assert isinstance(form, YamlFile)
    try:
        text = writers.yaml_file(form, Values(path, "/a.gguf", 3))
    except UsageError:
        return
    (model,) = yaml.safe_load(text)["models"].values()
    assert after(shlex.split(model["cmd"]), "-m") == path


def test_the_modelfile_is_read_by_ollamas_rules(awkward_pair):
    assert read_modelfile(exported("ollama", awkward_pair, ctx=512, draft=2).text) == [
        ("model", str(awkward_pair[0])),
        ("draft", str(awkward_pair[1])),
        ("draft_num_predict", "2"),
        ("num_ctx", "512"),
    ]


def test_llama_swap_gets_a_command_with_its_port(awkward_pair):
    (name, model), *rest = yaml.safe_load(exported("llama-swap", awkward_pair, ctx=512).text)["models"].items()
    assert (name, rest) == ("the-target", [])
    command = shlex.split(model["cmd"])
    assert after(command, "--port") == "${PORT}"
    assert after(command, "-md") == str(awkward_pair[1])
    assert after(command, "--spec-type") == "draft-mtp"


def test_localai_gets_numbers_as_numbers(pair):
    assert yaml.safe_load(exported("localai", pair, ctx=512, draft=2).text) == {
        "name": pair[0].stem,
        "backend": "llama-cpp",
        "context_size": 512,
        "parameters": {"model": pair[0].name},
        "draft_model": pair[1].name,
        "options": ["use_jinja:true", "spec_type:draft-mtp", "spec_n_max:2", "spec_p_min:0"],
        "template": {"use_tokenizer_template": True},
    }


def test_docker_configures_what_it_has_packaged(pair):
    commands = words(exported("docker-model-runner", pair, ctx=512, draft=2))
    packaged = {after(command, "--gguf"): command[-1] for command in commands if "package" in command}
    (configured,) = (command for command in commands if "configure" in command)
    assert after(configured, "--speculative-draft-model") == packaged[str(pair[1])]
    assert configured[configured.index("--") - 1] == packaged[str(pair[0])]
    assert configured[configured.index("--") + 1 :] == ["--spec-type", "draft-mtp"]


def test_lm_studio_gets_links_below_a_publisher(pair, tmp_path):
    export = exported("lmstudio", pair, output=tmp_path)
    export.write()
    export.write()  # twice is once
    folder = tmp_path / "gemma-mtp" / pair[0].stem
    assert {link.name: link.resolve() for link in folder.iterdir()} == {file.name: file.resolve() for file in pair}
    assert isinstance(export.host.form, Folder)
    assert export.report.warnings


def test_lm_studio_is_written_nowhere_without_a_folder(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export = exported("lmstudio", pair)
    export.write()
    assert not export.writes
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CHECKPOINT_HOSTS)
def test_hosts_of_checkpoints_get_folders(name):
    export = exported(name, (PAIR / "target", PAIR / "assistant"), draft=4, ctx=512)
    (command,) = words(export)
    assert str(PAIR / "target") in command
    assert any(str(PAIR / "assistant") in word for word in command)
    assert "512" in command


def test_vllm_gets_json(tmp_path):
    (command,) = words(exported("vllm", (PAIR / "target", PAIR / "assistant"), draft=4))
    assert json.loads(after(command, "--speculative-config")) == {
        "method": "mtp",
        "model": str(PAIR / "assistant"),
        "num_speculative_tokens": 4,
    }


@pytest.mark.parametrize("name", CHECKPOINT_HOSTS)
def test_hosts_of_checkpoints_get_no_gguf(name, pair):
    with pytest.raises(UsageError, match="checkpoints"):
        export_pair(name, str(pair[0]), str(pair[1]), Wishes())


def test_hosts_of_ggufs_get_no_checkpoint():
    with pytest.raises(UsageError, match="GGUF"):
        export_pair("ollama", str(PAIR / "target"), str(PAIR / "assistant"), Wishes())


@pytest.mark.parametrize("host", ["koboldcpp@1.114", "ollama@0.32.6", "llama-server@b9000", "ik_llama.cpp@2026-05-01"])
def test_a_version_that_cannot_read_the_pair_gets_nothing(host, pair):
    found = export_pair(host, str(pair[0]), str(pair[1]), Wishes())
    assert not found.report.ok
    assert found.text == ""


def test_files_the_wrong_way_round_get_nothing(pair):
    assert not export_pair("llama-server", str(pair[1]), str(pair[0]), Wishes()).report.ok


def results(pair, draft: int, **changes) -> dict:
    files = [
        {"name": "x", "file": changes.get("file", path.name), "bytes": path.stat().st_size, "type": "Q8_0"}
        for path in pair
    ]
    return {
        "schema": "gemma-mtp bench",
        "version": 1,
        "gemma_mtp": "1",
        "date": "2026-11-26",
        "machine": {"system": "", "cpu": "", "devices": [], "engines": {}},
        "target": files[0],
        "assistant": files[1],
        "settings": {
            **dict.fromkeys(("draft_max", "tokens", "repeats", "threads", "context", "batch", "gpu_layers"), 1),
            "cache_type": "f16",
            "flash_attention": "auto",
            "prompts": {},
        },
        "rows": [],
        "recommendation": {"draft": draft, "speedup": 1.5, "reasons": [], "command": ""},
    }


def test_the_draft_length_is_the_measured_one(pair, tmp_path):
    bench = tmp_path / "results.json"
    bench.write_text(json.dumps(results(pair, 5)))
    export = exported("llama-server", pair, bench=bench)
    assert after(words(export)[0], "--spec-draft-n-max") == "5"
    assert "1.50x" in export.draft_from


def test_results_of_other_files_are_refused(pair, tmp_path):
    bench = tmp_path / "results.json"
    bench.write_text(json.dumps(results(pair, 5, file="other.gguf")))
    with pytest.raises(UsageError, match=r"other\.gguf"):
        exported("llama-server", pair, bench=bench)


def test_where_drafting_does_not_pay_there_is_nothing_to_export(pair, tmp_path):
    bench = tmp_path / "results.json"
    bench.write_text(json.dumps(results(pair, 0)))
    with pytest.raises(UsageError, match="does not pay"):
        exported("llama-server", pair, bench=bench)
    assert exported("llama-server", pair, bench=bench, draft=1).values.draft == 1


def test_what_is_no_bench_is_refused(pair):
    with pytest.raises(BadFileError):
        exported("llama-server", pair, bench=pair[0])


def export(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return command("export", *arguments, cwd=cwd)


def test_paths_are_absolute_and_nothing_is_overwritten(pair, tmp_path):
    for name, file in zip(("t.gguf", "mtp-t.gguf"), pair, strict=True):
        (tmp_path / name).symlink_to(file)
    first = export("ollama", "t.gguf", "mtp-t.gguf", "-o", "Modelfile", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, "")
    assert dict(read_modelfile((tmp_path / "Modelfile").read_text()))["draft"] == str(tmp_path / "mtp-t.gguf")
    (tmp_path / "Modelfile").write_text("mine")
    assert export("ollama", "t.gguf", "mtp-t.gguf", "-o", "Modelfile", cwd=tmp_path).returncode == 2
    assert (tmp_path / "Modelfile").read_text() == "mine"
    assert export("ollama", "t.gguf", "mtp-t.gguf", "-o", "Modelfile", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "Modelfile").read_text() != "mine"


def test_a_dry_run_writes_nothing(pair, tmp_path):
    done = export("llama-router", *pair, "-o", "preset.ini", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert read_preset(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object_with_everything(pair, tmp_path):
    found = json.loads(export("llama-router", *pair, "--json", cwd=tmp_path).stdout)
    assert read_preset(found["text"])[pair[0].stem]["spec-type"] == "draft-mtp"
    assert (found["draft"], found["written"], found["host"]["checked"][:2]) == (3, False, "20")


def test_a_pair_that_does_not_fit_ends_with_one(pair, tmp_path):
    done = export("llama-server", pair[1], pair[0], cwd=tmp_path)
    assert done.returncode == 1
    assert "llama-server -m" not in done.stdout


def test_the_list_has_every_host(tmp_path):
    done = export("--list", cwd=tmp_path)
    assert all(host.name in done.stdout for host in HOSTS)
    assert [one["name"] for one in json.loads(export("--list", "--json", cwd=tmp_path).stdout)["hosts"]] == [*BY_NAME]
