# Sourced by the other scripts: environments that hold exactly what a lock file names.

apt_install() {
  as_root=
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  command -v apt-get >/dev/null && $as_root true 2>/dev/null || { echo "please install: $*" >&2; exit 2; }
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# make_venv DIR LOCK: the environment at DIR, made anew whenever LOCK or the interpreter has changed.
make_venv() {
  python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed" >&2; exit 2; }
  stamp=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read() + sys.version.encode()).hexdigest())' "$2")
  [ "$(cat "$1/stamp" 2>/dev/null)" = "$stamp" ] && return
  "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  rm -rf "$1"
  "$python" -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$2"
  "$1/bin/python" -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "gate.pth").write_text(f"{pathlib.Path.cwd()}\n")'
  echo "$stamp" >"$1/stamp"
}

# make_node DIR: what DIR/package-lock.json names, in DIR/node_modules, made anew whenever it has changed.
make_node() {
  cmp -s "$1/package-lock.json" "$1/node_modules/stamp" && return
  npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
  rm -f "$1"/node_modules/@octokit/openapi/generated/*.deref.json # most of it is the same again, references resolved
  cp "$1/package-lock.json" "$1/node_modules/stamp"
}
