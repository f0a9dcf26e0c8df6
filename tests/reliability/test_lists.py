"""Lists of videos: all that is wrong with one at once and in time, nothing outside the data folder, no archive."""

import csv
import time

import pytest
import torch
from safetensors.torch import save_file

from tests.reliability.sources import calls, imported_modules
from vared import cli
from vared.checkpoints import load_weights
from vared.own_data.layout import read_layout

ROWS = 100_000


@pytest.mark.hazard("lists", "100,000 bad rows", "all at once with line and reason, < 10 s")
def test_a_long_list_of_bad_rows_is_read_in_time(tmp_path, record_property):
    """Rows that are missing are looked for in a folder of many files, which is the slow part."""
    for number in range(1000):
        (tmp_path / f"{number}.mp4").touch()
    kinds = ["{0}.mp4,run", "gone {0}.mp4,run", "{0}.mp4,", "../{0}.mp4,run", "too,many,{0}", "sub/{0}.mp4,run"]
    rows = [kinds[number % 6].format(number // 6) for number in range(ROWS)]
    rows[0] = "0.mp4,sit"  # a second class
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    start = time.process_time()
    layout = read_layout(tmp_path / "list.csv")
    seconds = time.process_time() - start
    lines = {problem.line for problem in layout.problems}
    good = {2 + 6 * number for number in range(1000)}
    assert good | lines == set(range(2, ROWS + 2)) and not good & lines and len(layout.entries) == 1000
    record_property("seconds", round(seconds, 1))
    assert seconds < 10


@pytest.mark.hazard("lists", "rows that lead out of the data folder", "5/5 forms refused unless allowed")
def test_rows_that_lead_out_are_refused_in_all_five_forms(tmp_path, record_property):
    home, outside = tmp_path / "home", tmp_path / "outside" / "secret.mp4"
    for path in (outside, home / "a" / "1.mp4", home / "a:b" / "2.mp4"):
        path.parent.mkdir(parents=True)
        path.touch()
    (home / "link.mp4").symlink_to(outside)
    forms = [str(outside), "../outside/secret.mp4", "link.mp4", "C:\\videos\\x.mp4", "https://example.org/x.mp4"]
    inside = ["a/1.mp4", str(home / "a" / ".." / "a:b" / "2.mp4")]  # absolute, but within
    with open(home / "list.csv", "w", newline="") as stream:
        rows = [(path, f"class {number % 2}") for number, path in enumerate(forms + inside)]
        csv.writer(stream).writerows([("path", "label"), *rows])
    layout = read_layout(home / "list.csv")
    refused = [problem for problem in layout.problems if "lies outside" in problem.reason]
    record_property("tried", len(forms)), record_property("survived", len(refused))
    assert [problem.line for problem in refused] == [2, 3, 4, 5, 6] and [e.name for e in layout.entries] == inside
    allowed = read_layout(home / "list.csv", allow_outside=True)
    assert {entry.name for entry in allowed.entries} >= {forms[0], forms[2]}


@pytest.mark.hazard("lists", "a folder that is linked to by many rows", "only what lies inside is read")
def test_a_linked_folder_that_leads_out_is_refused(tmp_path):
    (tmp_path / "else").mkdir(), (tmp_path / "home").mkdir()
    (tmp_path / "else" / "1.mp4").touch(), (tmp_path / "home" / "clips").symlink_to(tmp_path / "else")
    (tmp_path / "home" / "list.csv").write_text("path,label\nclips/1.mp4,run\n")
    (problem, *_) = read_layout(tmp_path / "home" / "list.csv").problems
    assert "lies outside" in problem.reason


@pytest.mark.hazard("lists", "names that no file can have", "named with their line, no traceback")
@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "a/" * 2100 + "b.mp4", "nul\0byte.mp4", "\ud800.mp4", "~/a.mp4"])
def test_impossible_names_are_missing_files(tmp_path, name):
    text = f"path,label\n{name},run\n"
    (tmp_path / "list.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert cli.main(["check", str(tmp_path / "list.csv"), "--workers", "0"]) == 2


@pytest.mark.hazard("lists", "another number of classes than the weights have", "both numbers named, nothing changed")
def test_a_head_for_other_classes_is_refused_with_both_numbers(tmp_path):
    save_file(torch.nn.Linear(4, 12).state_dict(), tmp_path / "twelve.safetensors")
    five = torch.nn.Linear(4, 5)
    before = five.weight.detach().clone()
    with pytest.raises(ValueError, match=r"weight \(file \(12, 4\), network \(5, 4\)\)"):
        load_weights(five, tmp_path / "twelve.safetensors")
    assert torch.equal(before, five.weight)


@pytest.mark.hazard("lists", "hostile archives and downloads", "none is ever unpacked or fetched (source scan)")
def test_the_package_neither_unpacks_nor_downloads():
    forbidden = {"tarfile", "zipfile", "urllib.request", "requests", "httpx", "torch.hub", "huggingface_hub"}
    assert not forbidden & imported_modules()
    names = {name for _, name, _ in calls()}
    bad = ("unpack_archive", "extractall", "urlretrieve", "urlopen", "load_state_dict_from_url", "hf_hub_download")
    assert not [name for name in names if name.endswith(bad)]
