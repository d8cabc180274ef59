#!/bin/sh
# The page of a web server outside: tells whoever comes by from which address.
echo; echo "you are $REMOTE_ADDR"
