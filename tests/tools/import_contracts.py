"""Two kinds of import contract that the linter does not bring along: a door, and a public surface.

Both look at direct imports only and hold for modules that do not exist yet, so a rule can be written before the code it
guards. Chains through other modules are the business of the linter's own "forbidden" contracts.
"""

from collections.abc import Iterable

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

Offence = tuple[str, str, tuple[int, ...]]


def is_inside(module: str, packages: Iterable[str]) -> bool:
    """Whether `module` is one of `packages` or lies below one of them."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def imports_of(graph: ImportGraph, importer: str, imported: str) -> Offence:
    """One direct import with the lines where it stands."""
    details = graph.get_import_details(importer=importer, imported=imported)
    return importer, imported, tuple(sorted(detail["line_number"] for detail in details))


def report(check: ContractCheck, rule: str) -> None:
    """Print each offending import and the rule it breaks."""
    for importer, imported, lines in check.metadata["offences"]:
        where = ", ".join(f"l.{line}" for line in lines)
        output.print_error(f"{importer} imports {imported} ({where}): {rule}", bold=False)
    output.new_line()


class DoorContract(Contract):
    """Each of `libraries` may be imported directly only by modules inside `doors`."""

    type_name = "door"

    libraries = fields.ListField(subfield=fields.StringField())
    doors = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        offences = [
            imports_of(graph, importer, library)
            for library in sorted(graph.modules)
            if is_inside(library, self.libraries)
            for importer in sorted(graph.find_modules_that_directly_import(library))
            if not is_inside(importer, self.doors)
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        report(check, f"only {', '.join(self.doors)} may.")


class SurfaceContract(Contract):
    """Modules inside `importer` may import from the package `room` only the modules named in `public`."""

    type_name = "surface"

    importer = fields.StringField()
    room = fields.StringField()
    public = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        offences = [
            imports_of(graph, module, imported)
            for module in sorted(graph.modules)
            if is_inside(module, [self.importer])
            for imported in sorted(graph.find_modules_directly_imported_by(module))
            if is_inside(imported, [self.room]) and not is_inside(imported, self.public)
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        report(check, f"from {self.room} only {', '.join(self.public)} may be imported there.")
