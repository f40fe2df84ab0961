#!/bin/bash
# Gives the user `nas` the password in /run/secrets/nas-password, and each drive that is nobody's yet; then serves.
set -euo pipefail
mkdir -p /run/samba /var/lib/samba/private
password=$(< /run/secrets/nas-password)
[ -n "$password" ] || { echo 'nas-password is empty' >&2; exit 2; }
printf '%s\n%s\n' "$password" "$password" | smbpasswd -s -a nas
for drive in /drive/*/; do
  # A new filesystem belongs to root. What is not mounted is left alone.
  if mountpoint -q "$drive" && [ "$(stat -c %u "$drive")" = 0 ]; then chown nas:nas "$drive"; fi
done
exec smbd --foreground --no-process-group --debug-stdout
