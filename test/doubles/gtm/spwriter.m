spwriter	; Writes a row for each line "sequence row" of its input, and answers "sequence ok" once the transaction is committed.
	new line,seq,row
	for  read line quit:$zeof  do
	. set seq=$piece(line," ",1),row=$piece(line," ",2)
	. tstart ():serial
	. set ^a=row,^a(row)=$justify(row,200),^b(row)=$justify(row,200),^b=row
	. tcommit
	. write seq," ok",!
	quit
load	; Writes transactions without pause over both globals, and notes each in a file of its own only after it is committed. Goes on where
	; the database ends.
	new id,log,n,pause
	set id=$piece($zcmdline," ",1),log=$piece($zcmdline," ",2),pause=+$piece($zcmdline," ",3)
	open log:(append:stream)
	use log
	for n=$get(^la(id))+1:1 do
	. tstart ():(serial:transaction="BATCH")
	. set ^la(id)=n,^la(id,n)=$zut,^lb(id)=n,^lb(id,n)=$justify(n,200)
	. tcommit
	. write n," ",$zut,! use log:(flush)
	. hang $select(pause:pause,n#20:0,1:.001)
	quit
fill	; Rows of about 1000 bytes that stay as they are.
	new n
	for n=1:1:+$zcmdline set ^fill(n)=$justify(n,900)
	quit
rows	; Prints the rows of which all parts are there.
	new row
	set row=""
	for  set row=$order(^a(row)) quit:row=""  write:$data(^b(row)) row,!
	quit
inv	; The invariant of both writers: what one transaction wrote is there whole, in all regions, without a gap.
	new id,bad,n
	set bad=0
	if $get(^a)'=$get(^b) set bad=1 write "a=",$get(^a)," b=",$get(^b),!
	set id=""
	for  set id=$order(^la(id)) quit:id=""  do
	. if ^la(id)'=$get(^lb(id)) set bad=1 write "la=",^la(id)," lb=",$get(^lb(id)),!
	. if $order(^la(id,""),-1)'=^la(id) set bad=1 write "rows of la end elsewhere",!
	. if $order(^lb(id,""),-1)'=^lb(id) set bad=1 write "rows of lb end elsewhere",!
	. set n=$order(^la(id,"")) if n'=1 set bad=1 write "rows begin at ",n,!
	set id="" for  set id=$order(^la(id)) quit:id=""  write "la(",id,")=",^la(id)," "
	write $select(bad:"broken",1:"invariant holds"),!
	quit
last	; Prints the last number of a load.
	write $get(^la($piece($zcmdline," ",1))),!
	quit
