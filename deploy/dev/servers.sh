#!/usr/bin/env bash
# Install and start the servers that the tests need, where they are missing, and print where each answers (NAME=value).
#
# One function per server, called at the end. A function first looks for a server that answers: the one that the
# caller's HUB_TEST_… variable names, then the usual place. Only root installs and starts; anybody else gets the line
# that does. Progress goes to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hub-tests
ME=$(id -un)

say() { printf '· %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

ask_for() { # WHAT LINE: leave, telling the user what only an administrator can do
    printf 'error: %s. Run this, then try again:\n  %s\n' "$1" "$2" >&2
    exit 1
}

apt_install() { # PACKAGE…
    local log
    log=$(mktemp)
    say "installing $*"
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    rm -f "$log"
}

wait_for() { # SECONDS COMMAND…
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# --- PostgreSQL -------------------------------------------------------------------------------------------------

POSTGRES_USUAL=postgresql://root@127.0.0.1:5432/test
POSTGRES_ROLE=hub_test_${ME//[^a-z0-9_]/_}
POSTGRES_START_S_MAX=30

postgresql() {
    local url
    url=${HUB_TEST_POSTGRES_URL:-}
    if [ -n "$url" ]; then
        postgres_answers "$url" ||
            fail "PostgreSQL does not answer at HUB_TEST_POSTGRES_URL, or its role may not create databases"
    elif postgres_answers "$POSTGRES_USUAL"; then
        url=$POSTGRES_USUAL
    else
        url=$(cat "$CACHE/postgres-url" 2>/dev/null || true)
        if [ -z "$url" ] || ! postgres_answers "$url"; then
            postgres_install
            postgres_start
            url=$(postgres_make_role)
            postgres_answers "$url" || fail "PostgreSQL refuses its new role $POSTGRES_ROLE; set HUB_TEST_POSTGRES_URL"
        fi
    fi
    say "PostgreSQL answers"
    printf 'HUB_TEST_POSTGRES_URL=%s\n' "$url"
}

postgres_answers() { # URL: can it be reached, and may we create databases there?
    .venv/bin/python - "$1" 2>/dev/null <<'PYTHON'
import asyncio, sys
import asyncpg

async def main() -> bool:
    connection = await asyncpg.connect(sys.argv[1], timeout=5)
    try:
        return await connection.fetchval("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
    finally:
        await connection.close()

sys.exit(0 if asyncio.run(main()) else 1)
PYTHON
}

postgres_install() {
    command -v pg_lsclusters >/dev/null && [ -n "$(pg_lsclusters --no-header)" ] && return
    is_root || ask_for "PostgreSQL is not installed" "sudo apt-get install -y postgresql && $(postgres_role_line)"
    apt_install postgresql
}

postgres_role_line() { printf 'sudo -u postgres createuser --createdb --createrole %s' "$ME"; }

postgres_cluster() { # version, name, port, status of the cluster to use: PGCLUSTER (version/name), else one that runs
    pg_lsclusters --no-header | awk -v wanted="${PGCLUSTER:-}" '
        wanted == "" || wanted == $1 "/" $2 { print ($4 ~ /^online/ ? 0 : 1), $1, $2, $3, $4 }' |
        sort | head -n 1 | cut -d ' ' -f 2-
}

postgres_start() {
    local version name port status
    read -r version name port status <<<"$(postgres_cluster)"
    case $status in online*) return ;; esac
    is_root || ask_for "PostgreSQL is not running" "sudo pg_ctlcluster $version $name start"
    say "starting PostgreSQL $version"
    pg_ctlcluster "$version" "$name" start >&2
    wait_for "$POSTGRES_START_S_MAX" pg_isready --quiet --host /var/run/postgresql --port "$port" ||
        fail "PostgreSQL did not start within $POSTGRES_START_S_MAX s"
}

postgres_make_role() { # a role of our own with a password that only this user's cache knows; prints its address
    local port password url
    read -r _ _ port _ <<<"$(postgres_cluster)"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    url=postgresql://$POSTGRES_ROLE:$password@127.0.0.1:$port
    say "creating the role $POSTGRES_ROLE"
    postgres_admin "$port" <<SQL ||
SET client_min_messages = warning;
DO \$\$ BEGIN CREATE ROLE $POSTGRES_ROLE; EXCEPTION WHEN duplicate_object THEN NULL; END \$\$;
ALTER ROLE $POSTGRES_ROLE LOGIN CREATEDB PASSWORD '$password';
SQL
        ask_for "the user $ME may not create roles in PostgreSQL" "$(postgres_role_line)"
    PGPASSWORD=$password psql --quiet --no-psqlrc --host 127.0.0.1 --port "$port" --username "$POSTGRES_ROLE" \
        --dbname postgres --command "CREATE DATABASE $POSTGRES_ROLE" 2>/dev/null || true # it may be there already
    (umask 077 && mkdir -p "$CACHE" && printf '%s/%s\n' "$url" "$POSTGRES_ROLE" >"$CACHE/postgres-url")
    printf '%s/%s\n' "$url" "$POSTGRES_ROLE"
}

postgres_admin() { # PORT: run the SQL on standard input as somebody who may create roles (the system's user is the role)
    local as=()
    if is_root; then as=(runuser -u postgres --); fi
    "${as[@]}" psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host /var/run/postgresql --port "$1" --dbname postgres >&2
}

# --- RabbitMQ ---------------------------------------------------------------------------------------------------

RABBITMQ_USUAL=amqp://guest:guest@127.0.0.1:5672/
RABBITMQ_START_S_MAX=60

rabbitmq() {
    local url=${HUB_TEST_RABBITMQ_URL:-$RABBITMQ_USUAL}
    if [ -n "${HUB_TEST_RABBITMQ_URL:-}" ]; then
        rabbitmq_answers "$url" || fail "RabbitMQ does not answer at HUB_TEST_RABBITMQ_URL"
    elif ! rabbitmq_answers "$url"; then
        rabbitmq_install
        rabbitmq_start
        rabbitmq_answers "$url" || fail "RabbitMQ started but refuses guest; set HUB_TEST_RABBITMQ_URL"
    fi
    say "RabbitMQ answers"
    printf 'HUB_TEST_RABBITMQ_URL=%s\n' "$url"
}

rabbitmq_answers() { # URL: does it let us in?
    .venv/bin/python - "$1" 2>/dev/null <<'PYTHON'
import asyncio, sys
import aiormq

async def main() -> None:
    async with asyncio.timeout(5):
        connection = await aiormq.connect(sys.argv[1])
        await connection.close()

asyncio.run(main())
PYTHON
}

rabbitmq_install() {
    command -v rabbitmqctl >/dev/null && return
    is_root || ask_for "RabbitMQ is not installed" "sudo apt-get install -y rabbitmq-server"
    apt_install rabbitmq-server
}

rabbitmq_start() { # without systemd: its own script leaves it running in the background
    is_root || ask_for "RabbitMQ is not running" "sudo rabbitmq-server -detached"
    say "starting RabbitMQ"
    rabbitmq-server -detached >&2
    wait_for "$RABBITMQ_START_S_MAX" rabbitmqctl --quiet await_startup >&2 ||
        fail "RabbitMQ did not start within $RABBITMQ_START_S_MAX s"
}

# --- PgBouncer --------------------------------------------------------------------------------------------------

pgbouncer_install() { # the tests start it themselves, and skip what needs it where it is missing
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || ! is_root || apt_install pgbouncer
}

# --- promtool ---------------------------------------------------------------------------------------------------

promtool_install() { # part of Debian's prometheus, whose server is neither started nor wanted; without it its tests are skipped
    command -v promtool >/dev/null || ! is_root || promtool_unpack
}

promtool_unpack() { # the program alone
    local folder
    folder=$(mktemp -d)
    say "installing promtool"
    if (cd "$folder" && apt-get update -qq && apt-get download -qq prometheus && dpkg --extract prometheus_*.deb .) \
        >"$folder/log" 2>&1; then
        install -m 755 "$folder/usr/bin/promtool" /usr/local/bin/promtool
    else
        cat "$folder/log" >&2
        say "promtool could not be fetched: its tests are skipped"
    fi
    rm -rf "$folder"
}

# --- Chromium ---------------------------------------------------------------------------------------------------

chromium_install() { # for the console's tests, which are skipped where it is missing
    if command -v chromium >/dev/null; then
        printf 'HUB_TEST_CHROMIUM=%s\n' "$(command -v chromium)"
    elif is_root; then
        apt_install chromium fonts-dejavu-core
        printf 'HUB_TEST_CHROMIUM=%s\n' "$(command -v chromium)"
    else
        say "chromium is not installed, so the console is not looked at in a browser: sudo apt-get install -y chromium"
    fi
}

postgresql
rabbitmq
pgbouncer_install
promtool_install
chromium_install
