# The functions that public headers declare or pages show in their SYNOPSIS, one a line: FILE NAME PROTOTYPE.

function show(text,    name) {
	gsub(/CHIME_PRINTF\([^)]*\)|"/, "", text)
	gsub(/[ \t]+/, " ", text)
	gsub(/ ?\* ?/, " *", text)
	gsub(/\* \*/, "**", text)
	gsub(/ ?\( ?/, "(", text)
	gsub(/^ | *\) *;? *$/, "", text)
	name = text
	sub(/\(.*/, "", name)
	sub(/.*[ *]/, "", name)
	if (name ~ /^chime_/)
		print FILENAME, name, text ")"
}

# The words of a macro's line: those in quotes are one.
function words(line, into,    n) {
	n = 0
	while (match(line, /"[^"]*"|[^ "]+/)) {
		into[++n] = substr(line, RSTART, RLENGTH)
		line = substr(line, RSTART + RLENGTH)
	}
	return n
}

FILENAME ~ /\.h$/ {
	gsub(/\/\*.*\*\//, "")
	if (sub(/^CHIME_API /, "") || declared != "") {
		declared = declared " " $0
		if ($0 ~ /;/) {
			show(declared)
			declared = ""
		}
	}
	next
}

/^\.Sh/ { synopsis = $2 == "SYNOPSIS"; type = "" }
!synopsis { next }
/^\.Ft / { type = substr($0, 5) }
/^\.F[no] / {
	n = words(substr($0, 5), word)
	shown = type " " word[1] "("
	for (i = 2; i <= n; i++)
		shown = shown (i > 2 ? ", " : "") word[i]
	arguments = 0
}
/^\.Fa / {
	n = words(substr($0, 5), word)
	for (i = 1; i <= n; i++)
		shown = shown (arguments++ ? ", " : "") word[i]
}
(/^\.Fn / || /^\.Fc/) && type !~ /^"?typedef/ { show(shown ")") }
