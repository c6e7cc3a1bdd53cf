# Sourced by the other scripts. Changes into a copy of the work tree, where the
# commands of README run as for a new user.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch
export MPLBACKEND=Agg PIP_DISABLE_PIP_VERSION_CHECK=1

step() {
  printf '\n=== %s (%d s)\n' "$1" "$SECONDS"
}

# The work tree with uncommitted files, but without ignored files.
mkdir "$scratch/repo"
cd "$root"
git ls-files -z --cached --others --exclude-standard \
  | while IFS= read -r -d '' file; do
      if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done \
  | tar --null --files-from=- --create --file=- \
  | tar --extract --file=- --directory="$scratch/repo"
if [ -d "$root/../shared" ]; then
  ln -s "$(cd "$root/../shared" && pwd)" "$scratch/shared"
fi
cd "$scratch/repo"

# The n-th command of README, a line that begins with `python3`.
readme_command() {
  grep '^python3 ' README.md | sed -n "$1p"
}
train=$(readme_command 1)
test=$(readme_command 2)
if [[ $train != *'mmkgc train countries'* || $test != *pytest* ]]; then
  echo 'README does not begin with the two commands: train, test' >&2
  exit 1
fi

# The tests that train, rank or read a recipe depend most on the machine.
machine_tests=(tests/nn tests/training tests/evaluation tests/config tests/runs
               tests/test_machine.py)
