"""What the sections of the page of syntax lead to: figures, layers, keys and exports."""

from dataclasses import dataclass

from keyscope.app.runs import Run
from keyscope.app.web.links import Links
from keyscope.app.web.sections import Cell, Figure, Row
from keyscope.contract.keys import KeyId


@dataclass(frozen=True, slots=True)
class SyntaxLinks:
    """Addresses of one run."""

    run: Run
    links: Links

    def figure(self, name: str, caption: str, tall: bool = False) -> Figure:
        """A figure; those that are not tall have layers that a click leads to."""
        href = self.links.to("syntax_figure", run=self.run.run_id, figure=name)
        return Figure(caption, href, None if tall else self.layer(0), tall)

    def layer(self, layer: int) -> str:
        """A layer's page."""
        return self.links.layer(self.run.run_id, layer)

    def key_row(self, key: KeyId, *texts: str) -> Row:
        """A line about a key."""
        return Row(str(key), [Cell(text) for text in texts], self.links.key(self.run.run_id, key))

    def exports(self, table: str) -> dict[str, str]:
        """A table of the analysis as files."""
        return self.links.exports("export_analysis_table", run=self.run.run_id, table=table)
