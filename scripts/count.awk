# Reads what "ctest -V" printed. The first line out is "PASSED FAILED SKIPPED"; then what failed, with its output. Skips and
# their reasons are added to the file named by skips. Lines of tests that run at once are told apart by ctest's "N: ".

function strip(line) {
	sub(/^[0-9]+: ?/, "", line)
	return line
}

/^[0-9]+: / {
	n = $1 + 0
	line = strip($0)
	if (line ~ /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/) {
		split(line, word, " ")
		ran[n] = 1
		p[n] = word[1]
		f[n] = word[3]
		s[n] = word[5]
	}
	if (line ~ /^ok [0-9]+ .*# SKIP/)
		why[n] = why[n] line "\n"
	text[n] = text[n] "    " line "\n"
	last[n] = line
}

# "  3/12 Test  #7: net/addr ...   Passed    0.02 sec"
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
	match($0, /#[0-9]+: /)
	n = substr($0, RSTART + 1, RLENGTH - 3) + 0
	rest = substr($0, RSTART + RLENGTH)
	name = rest
	sub(/ .*/, "", name)
	if (rest ~ /\*\*\*Skipped/) {
		if (!ran[n]) {
			s[n] = 1
			print preset " " name ": " (last[n] == "" ? "no reason given" : last[n]) >>skips
		}
	} else if (rest ~ / Passed /) {
		if (!ran[n])
			p[n] = 1
	} else if (f[n] == 0)
		f[n] = 1
	count = split(why[n], each, "\n")
	for (i = 1; i < count; i++) {
		sub(/^ok [0-9]+ /, "", each[i])
		sub(/ # SKIP/, ":", each[i])
		print preset " " name "/" each[i] >>skips
	}
	passed += p[n]
	failed += f[n]
	skipped += s[n]
	if (f[n] > 0)
		report = report "  " name "\n" text[n]
}

END {
	print passed + 0, failed + 0, skipped + 0
	printf "%s", report
}
