sprounds	; For backups again and again while instances are killed. The database stays small: each row goes after so many others.
	quit
load	; Writes one transaction after the other over both globals, and notes each in a file only after it is committed. Goes on where the
	; database ends. Arguments: file, pause in seconds, rows that are kept.
	new log,pause,keep,n
	set log=$piece($zcmdline," ",1),pause=+$piece($zcmdline," ",2),keep=+$piece($zcmdline," ",3)
	open log:(append:stream)
	use log
	for n=$get(^la(1))+1:1 do
	. tstart ():(serial:transaction="BATCH")
	. set ^la(1)=n,^la(1,n)=n,^lb(1)=n,^lb(1,n)=$justify(n,200)
	. kill:n>keep ^la(1,n-keep),^lb(1,n-keep)
	. tcommit
	. write n," ",$zut,! use log:(flush)
	. hang pause
	quit
watch	; Notes the newest row again and again. Arguments: file, pause in seconds.
	new log,pause
	set log=$piece($zcmdline," ",1),pause=+$piece($zcmdline," ",2)
	open log:(append:stream)
	use log
	for  write +$get(^la(1))," ",$zut,! use log:(flush) hang pause
	quit
check	; What is there, whole, and what is wrong with it.
	new n,first,last,count
	set count=0,last=+$get(^la(1)),first=+$order(^la(1,""))
	if last'=+$get(^lb(1)) write "wrong: la ends at ",last,", lb at ",+$get(^lb(1)),!
	set n="" for  set n=$order(^la(1,n)) quit:n=""  do
	. set count=count+1
	. if ^la(1,n)'=n write "wrong: row ",n," holds ",^la(1,n),!
	. if $get(^lb(1,n))'=$justify(n,200) write "wrong: pair ",n,!
	set n="" for  set n=$order(^lb(1,n)) quit:n=""  if '$data(^la(1,n)) write "wrong: lb has ",n,", la has not",!
	write "first ",first," last ",last," rows ",count,!
	quit
