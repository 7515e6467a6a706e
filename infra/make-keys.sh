#!/bin/sh
# Makes the secrets that the service reads from its vault, where they are missing: the account's two keys and the sealing key.
# Run by a person who is signed in with az, once after the first deployment; a second run changes nothing.
#   make-keys.sh VAULT ACCOUNT            makes what is missing
#   make-keys.sh VAULT ACCOUNT key1|key2  makes a new first or second key; the old one is dead within minutes
set -eu
umask 077
vault="$1"
account="$2"
rotate="${3:-}"
file="$(mktemp)"
trap 'rm -f "$file"' EXIT

# Keys go by a file that only this user may read, never by an argument, and nothing of them is printed.
make() {
  openssl rand -base64 "$2" | tr -d '\n' > "$file"
  az keyvault secret set --vault-name "$vault" --name "$1" --file "$file" --encoding utf-8 --output none
  echo "made $1"
}
there() {
  az keyvault secret show --vault-name "$vault" --name "$1" --query id --output none 2>/dev/null
}

case "$rotate" in
  "")
    for secret in "account-$account-key1" "account-$account-key2"; do there "$secret" || make "$secret" 64; done
    # Never made anew: what was sealed with it could not be opened any more.
    there sealing-key || make sealing-key 32
    ;;
  key1 | key2) make "account-$account-$rotate" 64 ;;
  *) echo "usage: make-keys.sh VAULT ACCOUNT [key1|key2]" >&2; exit 2 ;;
esac
