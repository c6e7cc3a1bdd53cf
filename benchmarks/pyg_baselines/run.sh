#!/usr/bin/env bash
# All three datasets. The first argument, if any, is a folder that holds the
# files of MKG-W and FB15k-237 already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

data=()
if [ "$#" -gt 0 ]; then data=(--data_root "$1"); fi

python run.py countries --channels 128 --batch_size 512
python run.py mkg_w --channels 400 "${data[@]}"
python run.py fb15k_237 --channels 400 "${data[@]}"
