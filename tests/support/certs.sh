#!/bin/sh
# usage: certs.sh DIR
# Makes the certificates of the tests in DIR, each X.crt with its X.key:
#   ca, other-ca     authorities; by-hash has ca.crt as a CA directory wants it
#   server, second   of ca, for localhost, 127.0.0.1, ::1 and the places of netns.py
#   client           of ca, for nobody by name
#   elsewhere        of ca, for elsewhere.example
#   expired, soon    as server: expired yesterday, expires within five days
#   foreign          as server, of other-ca
#   alone            as server, of nobody but itself
#   locked.key       server's key, with a passphrase
set -eu

cd "$1"
exec 2>certs.log

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
}

authority() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/O=Vedette tests/CN=$1" -days 3650 -out "$1.crt"
}

# name, authority, days, subjectAltName
certificate() {
    key "$1"
    openssl req -new -key "$1.key" -subj "/O=Vedette tests/CN=$1" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\nsubjectAltName=%s\n' "$4" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days "$3" \
        -extfile "$1.ext" -out "$1.crt"
}

here=DNS:localhost,IP:127.0.0.1,IP:::1
for place in 1 2 3 4 5 6 7 8 9; do
    here=$here,IP:10.7.$place.2 # of netns.py
done
authority ca
authority other-ca
certificate server ca 365 "$here"
certificate second ca 365 "$here"
certificate client ca 365 DNS:client.invalid
certificate elsewhere ca 365 DNS:elsewhere.example
certificate expired ca -1 "$here"
certificate soon ca 5 "$here"
certificate foreign other-ca 365 "$here"
key alone
openssl req -x509 -new -key alone.key -subj "/O=Vedette tests/CN=alone" -days 365 \
    -addext "subjectAltName=$here" -out alone.crt
openssl pkcs8 -topk8 -in server.key -passout pass:secret -out locked.key
mkdir by-hash
cp ca.crt "by-hash/$(openssl x509 -in ca.crt -noout -hash).0"
