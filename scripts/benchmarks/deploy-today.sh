#!/bin/sh
# What teams write today: openssl checks the approval, a conditional write uses up its JTI, S3 keeps a record.
# deploy-today.sh PUBLIC_KEY.pem SCOPE TOKEN, with TABLE, BUCKET and ENDPOINT in the environment.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

decode() { # base64url without padding
  case $((${#1} % 4)) in 2) pad='==' ;; 3) pad='=' ;; *) pad='' ;; esac
  printf '%s%s' "$1" "$pad" | tr -- '-_' '+/' | base64 -d
}
claim() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$work/claims"; }

printf '%s' "${3%.*}" >"$work/signed"
decode "${3##*.}" >"$work/signature"
openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$work/signed" -sigfile "$work/signature" >/dev/null
payload=${3#*.}
decode "${payload%.*}" >"$work/claims"
[ "$(claim scope)" = "$2" ] || { echo "another scope" >&2; exit 1; }
[ "$(claim exp)" -gt "$(date +%s)" ] || { echo "expired" >&2; exit 1; }

jti=$(claim jti)
aws dynamodb put-item --endpoint-url "$ENDPOINT" --table-name "$TABLE" \
  --item "{\"jti\": {\"S\": \"$jti\"}, \"expires_at\": {\"N\": \"$(claim exp)\"}}" \
  --condition-expression 'attribute_not_exists(jti)'
aws s3api put-object --endpoint-url "$ENDPOINT" --bucket "$BUCKET" --key "deploys/$jti.json" \
  --body "$work/claims" >/dev/null
