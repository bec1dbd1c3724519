.PHONY: all
all: one.o two.o three
program.mk: ;
%.o: program.c
	gcc -c -o $@ program.c
three: one.o
	echo three > $@; cat $@
