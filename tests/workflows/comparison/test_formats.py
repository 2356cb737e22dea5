"""What is written of a table: Markdown, LaTeX and CSV say the same figures, whatever names are made of."""

import csv
import io
import re

import pytest

from dogfast.workflows.comparison.flat import COLUMNS, WHOLE, flat
from dogfast.workflows.comparison.latex import escaped, latex
from dogfast.workflows.comparison.markdown import markdown
from dogfast.workflows.comparison.rows import TABLES
from dogfast.workflows.comparison.tables import Outcome, build_table

HOSTILE = "80%|tiny_images\n& \\input{x} $#~^"


@pytest.fixture(scope="module")
def table(evaluated):
    """Table 4 of CIFAR-100 in one seed, on auxiliary images of a hostile name."""
    auxiliary = Outcome(f"oe+{HOSTILE}", HOSTILE, {0: evaluated("oe", 1.0)})
    made = {"OE": auxiliary, "OE + DOG": Outcome("oe", "dog", {0: evaluated("oe", 3.0)})}
    made["POEM"] = Outcome("poem+x", HOSTILE, {}, {0: f"no memory {HOSTILE}"})
    outcomes = {row: made.get(row.method, Outcome(not_run="no auxiliary images")) for row in TABLES[4].rows}
    return build_table(4, "cifar100", outcomes, {0: evaluated("ce", 1.0)})


@pytest.fixture(scope="module")
def beside(evaluated):
    """Table 4 of CIFAR-100 on a set that the paper has, and one that it has not."""
    sets = {"svhn": 40, "glyphs": 40}
    outcomes = {row: Outcome("oe", "dog", {0: evaluated("oe", 3.0, n_ood=sets)}) for row in TABLES[4].rows}
    return build_table(4, "cifar100", outcomes, {0: evaluated("ce", 1.0, n_ood=sets)})


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def blocks(text):
    return [[cells(line) for line in block.splitlines()] for block in text.split("\n\n") if block.startswith("|")]


def test_markdown_is_two_whole_tables(table):
    text = markdown(table)
    own, every = blocks(text)
    assert text.startswith("# Table 4. Outlier exposure") and "cifar100" in text.splitlines()[0]
    assert {len(line) for line in own} == {10} and {len(line) for line in every} == {4}
    assert own[0][3:6] == ["held-out-shapes: FPR95 / AUROC", "glyphs: FPR95 / AUROC", "average: FPR95 / AUROC"]
    (ours,) = [line for line in own if line[:2] == ["OE + DOG", "dog"]]
    found = next(row for row in table["rows"] if row["method"] == "OE + DOG")["figures"]["msp"]
    assert ours[5] == f"{found['average']['fpr95']['mean']:.2f} / {found['average']['auroc']['mean']:.2f}"
    assert ours[7].startswith("better (−") and ours[8].startswith("better (−") and ours[6] == "90.00"
    assert [line[0] for line in every[2:]] == [f"oe+{'80%' + chr(92)}|tiny_images & {chr(92) * 2}input{{x}} $#~^", "oe"]


def test_published_rows_are_marked_and_set_apart(beside):
    own, _ = blocks(markdown(beside))
    published = [line for line in own if "*published*" in line]
    assert [line[0] for line in published] == [f"*{row.method}*" for row in TABLES[4].rows]
    assert all(cell in ("", "*–*") or cell.startswith("*") for line in published for cell in line)
    assert "not ours" in markdown(beside) and r"\textit{published}" in latex(beside)
    assert all(line[5] == "*– / –*" for line in published), "our sets are not the paper's: averages do not compare"
    assert all(re.fullmatch(r"\*[\d.]+ / [\d.]+\*", line[3]) for line in published), "of a set that both have"


def test_published_averages_of_other_sets_stand_to_the_right(table):
    own, _ = blocks(markdown(table))
    assert own[0][9] == "published: FPR95 / AUROC" and not any("published" in cell for line in own[1:] for cell in line)
    (ours,) = [line for line in own if line[0] == "OE + DOG"]
    printed = next(row for row in table["rows"] if row["method"] == "OE + DOG")["published"]["average"]
    assert ours[9] == f"{printed[0]:.2f} / {printed[1]:.2f}"
    assert f"average over {', '.join(table['published_sets'])}" in markdown(table)


def test_the_artefact_control_has_a_column_where_it_was_measured(table, evaluated):
    assert not any("artefact control" in said(table) for said in (markdown, latex))
    outcomes = {row: Outcome("oe", "dog", {0: evaluated("oe", 3.0, called_ood=0.04)}) for row in TABLES[4].rows}
    controlled = build_table(4, "cifar100", outcomes, {0: evaluated("ce", 1.0)})
    own, _ = blocks(markdown(controlled))
    at = own[0].index("artefact control")
    assert [line[at] for line in own[2:]] == ["4.00"] * len(TABLES[4].rows)
    assert "artefact control & " in latex(controlled)
    assert {line["artefact_control"] for line in csv.DictReader(io.StringIO(flat(controlled)))} == {"4.0"}


def test_what_did_not_run_is_there_with_its_reason(table):
    own, _ = blocks(markdown(table))
    by_method = {line[0]: line for line in own}
    assert by_method["Energy-OE"][3] == "not run: no auxiliary images"
    assert by_method["POEM"][3].startswith("failed: no memory 80%")


def test_misprinted_averages_are_told(evaluated):
    sets = {name: 40 for name in ("svhn", "lsun-c", "isun", "textures", "places365")}
    baseline = {0: evaluated("ce", 1.0, n_ood=sets)}
    table = build_table(1, "cifar100", {row: Outcome(not_run="no") for row in TABLES[1].rows}, baseline)
    text = markdown(table)
    assert "average of Mahalanobis: the paper prints 72.37 / 82.70, the mean of its row is 62.17 / 82.70" in text
    assert text.count("the paper prints") == 3
    assert "| *61.12 / 85.05* |" in text, "CSI's row has the mean of its own sets"


def test_latex_has_whole_lines_and_no_command_of_others(table):
    text = latex(table)
    for environment in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns, body = environment
        for line in re.findall(r"(.*) \\\\\n", body):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == len(columns), line
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\end{table}") == 2
    assert r"80\%\textbar{}tiny\_images \& \textbackslash{}input\{x\} \$\#\textasciitilde{}\textasciicircum{}" in text
    assert r"\input" not in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_nothing_special_survives_escaping():
    rest = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}",
        "",
        escaped(r"\%&$#_{}~^<>|" + '"'),
    )
    assert not re.search(r"(?<!\\)[%&$#_{}~^<>|\"]", rest) and "\n" not in escaped("a\nb")


def test_csv_parses_back(table):
    text = flat(table)
    assert text.splitlines()[0] == ",".join(COLUMNS)
    lines = list(csv.DictReader(io.StringIO(text)))
    found = next(row for row in table["rows"] if row["method"] == "OE + DOG")
    by_key = {(line["score"], line["dataset"]): line for line in lines if line["method"] == "OE + DOG"}
    assert by_key.keys() == {(score, name) for score in ("msp", "energy", "ash-s") for name in (*table["sets"], WHOLE)}
    for score in ("msp", "energy"):
        assert float(by_key[score, "glyphs"]["fpr95"]) == found["figures"][score]["sets"]["glyphs"]["fpr95"]["mean"]
    judged = by_key["msp", WHOLE]
    assert (judged["judged"], judged["against_ce"], judged["n_id"]) == ("True", "better", "200")
    assert float(judged["published_fpr95"]) == pytest.approx(35.39) and judged["printed_fpr95"] == "35.39"
    assert by_key["energy", WHOLE]["published_fpr95"] == "" and by_key["msp", "glyphs"]["n_ood"] == "60"
    assert {line["outliers"] for line in lines if line["method"] == "OE"} == {HOSTILE}
    assert {line["status"] for line in lines if line["method"] == "Energy-OE"} == {"not run: no auxiliary images"}
    assert {line["published_auroc"] for line in lines if line["method"] == "Energy-OE" and line["dataset"] == "svhn"} == {
        "94.74"
    }
