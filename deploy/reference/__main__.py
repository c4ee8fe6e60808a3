"""`python -m deploy.reference`: write the generated files of the repository that this runs in."""

from pathlib import Path

from deploy.reference import documents

root = Path.cwd()
for path, text in documents(root).items():
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")
    print(path)
