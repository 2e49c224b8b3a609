#!/bin/sh
# Makes .bench-peers/NAME for each NAME.txt beside this file, unless it is there as pinned. One that cannot be
# installed leaves its reason in .bench-peers/NAME/failed, which the table shows; the others go on.
# PYTHON: makes the environments.
here=$(dirname "$0")
for pins in "$here"/*.txt; do
  name=$(basename "$pins" .txt)
  place=.bench-peers/$name
  if cmp -s "$pins" "$place/pins"; then continue; fi
  echo "installing the peer $name"
  rm -rf "$place" && mkdir -p "$place"
  if "${PYTHON:-python3}" -m venv "$place" >"$place/failed" 2>&1 &&
    "$place/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >"$place/failed" 2>&1; then
    rm "$place/failed" && cp "$pins" "$place/pins"
  else
    echo "  it cannot be installed: $(tail -n 1 "$place/failed")"
  fi
done
