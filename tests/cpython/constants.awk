# From constants.list: the rows of the table in constants.c.
function open_guard(version) {
	if (version != "") {
		split(version, part, ".")
		printf "#if PY_VERSION_HEX >= 0x%02x%02x0000\n", part[1], part[2]
	}
}
/^#/ || NF == 0 { next }
{
	name = $1
	version = $NF ~ /^[0-9]+\.[0-9]+$/ ? $NF : ""
	open_guard(version)
	if (split(name, pair, "=") == 2)
		printf "\t{ \"%s\", %s },\n", pair[1], pair[2]
	else if ($2 == "enum")
		printf "\t{ \"%s\", %s },\n", name, name
	else
		printf "#ifdef %s\n\t{ \"%s\", %s },\n#endif\n", name, name, name
	if (version != "")
		print "#endif"
}
