"README.md from nbs/index.ipynb, by nbconvert: no Quarto needed"
import json, re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent


def shown(cell):
    "Is the cell meant for readers?"
    return not re.match(r'\s*#\|\s*(hide|default_exp)', cell.source)


def answer(cell):
    "A cell that shows only what its code gives"
    return nbformat.v4.new_markdown_cell(''.join(cell.outputs[0].data['text/markdown']))


def readme(nb):
    "Markdown of the index page, as it reads at the top of the repository"
    nb.cells = [c for c in nb.cells if shown(c) and c.source.strip()]
    nb.cells = [answer(c) if '#| echo: false' in c.source else c for c in nb.cells]
    for c in nb.cells:
        c.source = re.sub(r'^#\|.*\n', '', c.source, flags=re.M)
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r'\]\(((?:tutorials|explanations|images|\d\d)[^)]*)\)', r'](nbs/\1)', text)
    return '<!-- made from nbs/index.ipynb by `make readme`: edit that -->\n\n' + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


if __name__ == '__main__':
    nb = nbformat.reads(json.dumps(json.loads((ROOT/'nbs/index.ipynb').read_text())), as_version=4)
    (ROOT/'README.md').write_text(readme(nb))
