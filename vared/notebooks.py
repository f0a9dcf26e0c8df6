"""Running the project's notebooks: parameters in, executed copy out, the same bytes every time.

papermill does the work. Its record of times and versions is removed afterwards, and so is everything else that differs
between two runs, so that an executed notebook can be committed and hashed.
"""

import ast
import os
import re
import sys
from pathlib import Path

import nbformat

# Values in printed text that differ between runs: addresses of objects.
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")
_CELL_NOISE = ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled")


def declared_parameters(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Names and default values in the cell tagged `parameters`, literals only. Raises ValueError without that cell."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"A notebook needs exactly one cell tagged 'parameters', but this one has {len(cells)}.")
    statements = ast.parse(cells[0].source).body
    return {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}


def run(source: Path, target: Path, parameters: dict[str, object], *, directory: Path) -> int:
    """Execute `source` in `directory` and put the executed copy at `target`. Returns 0, or 1 when a cell failed.

    After a failure the copy, with the traceback in it, is left beside `target` as *.partial.ipynb and an earlier
    `target` stays as it was. Raises FileNotFoundError without `source`, ValueError for a parameter that the notebook
    does not declare or whose type differs from the declared one, and for braces in a path, which papermill would
    evaluate.
    """
    for path in (source, target, directory):
        if set("{}") & set(str(path)):
            raise ValueError(f"Notebooks cannot be run in a folder with braces in its name: {path}")
    check_parameters(read_source(source), parameters, source.name)
    papermill = import_papermill()
    partial = target.with_name(f"{target.stem}.partial.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            source,
            partial,
            parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(directory),
        )
    except papermill.PapermillExecutionError as error:
        print(f"{source.name} failed; see {partial}\n{error}", file=sys.stderr)
        return 1
    nbformat.write(scrubbed(nbformat.read(partial, as_version=4)), partial)
    os.replace(partial, target)
    return 0


def read_source(source: Path) -> nbformat.NotebookNode:
    """The notebook at `source`. Raises FileNotFoundError that lists those beside it when there is none."""
    if not source.exists():
        known = ", ".join(sorted(path.stem for path in source.parent.glob("*.ipynb")))
        raise FileNotFoundError(f"There is no notebook {source.name} in {source.parent.name}/, only {known or 'none'}.")
    return nbformat.read(source, as_version=4)


def check_parameters(notebook: nbformat.NotebookNode, parameters: dict[str, object], name: str) -> None:
    """Names go into code as they are, so only declared ones of the declared type may pass. Raises ValueError."""
    declared = declared_parameters(notebook)
    for key, value in parameters.items():
        if key not in declared:
            raise ValueError(f"{name} declares no parameter {key!r}, only {', '.join(declared)}.")
        if type(value) is not type(declared[key]):
            kind = type(declared[key]).__name__
            raise ValueError(f"{name}: the parameter {key} is of type {kind}, but {value!r} was given.")


def import_papermill():
    """papermill, without a grammar that its JSON checker compiles at import and that notebooks never need (4 s)."""
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    papermill.PapermillExecutionError = PapermillExecutionError
    return papermill


def scrubbed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook without what differs between runs; `write` is set back, so that a rerun writes nothing."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        for key in _CELL_NOISE:
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace("write = True", "write = False")
        if cell.cell_type == "code":
            cell.outputs = [_stable(output) for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _stable(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "text" in output:
        output.text = _ADDRESS.sub("at 0x0", output.text)
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(value, str):
            output.data[kind] = _ADDRESS.sub("at 0x0", value)
    return output


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A source notebook as it is committed: no outputs, no counts, no trace of the machine it was edited on."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def strip_file(path: Path) -> bool:
    """Strip the notebook at `path` in place; whether that changed it."""
    before = path.read_text(encoding="utf-8")
    after = _stripped_text(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def is_stripped(path: Path) -> bool:
    """Whether stripping would leave the file as it is."""
    text = path.read_text(encoding="utf-8")
    return _stripped_text(text) == text


def _stripped_text(text: str) -> str:
    notebook = nbformat.reads(text, as_version=4)
    notebook.nbformat_minor = 5
    return nbformat.writes(stripped(notebook)) + "\n"
