# Interactive shells that are not login shells (those read /etc/profile).
[ -n "${PS1:-}" ] && . /etc/profile
