"""Writes what kustomize reads, `base` and `overlays`, from the plan of this checkout."""

from __future__ import annotations

from deploy.kubernetes.kustomize import FOLDER, VALUES, example, files


def main() -> None:
    """Writes the files, and deletes those that were written before and are not any more."""
    made = files(example())
    for folder in ("base", "overlays"):
        for path in (FOLDER / folder).rglob("*.yaml"):
            if path.name != VALUES and str(path.relative_to(FOLDER)) not in made:
                path.unlink()
    for name, body in made.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
