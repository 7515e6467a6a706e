#!/usr/bin/perl
# Starts tasks for the agent where there is no C compiler: the protocol of README.md, with fork and exec and nothing beyond
# perl-base. System calls that Perl has no name for are made by number on x86-64 and arm64, and left out elsewhere.
use strict;
use warnings;
use POSIX ();
use Errno qw(ENOENT ENOTDIR EACCES EEXIST EINTR EINVAL ENOEXEC);
use Fcntl qw(O_RDONLY O_WRONLY O_CREAT O_TRUNC O_NOFOLLOW);

my $SWEEP_SECONDS = 5;
my $machine = (POSIX::uname())[4];
my %calls = $^O ne "linux" ? ()
  : $machine eq "x86_64" ? (prctl => 157, wait4 => 61, prlimit => 302, setresuid => 117, setresgid => 119, setgroups => 116, setfsuid => 122, setfsgid => 123, clock_gettime => 228, signalfd4 => 289, close_range => 436)
  : $machine eq "aarch64" ? (prctl => 167, wait4 => 260, prlimit => 261, setresuid => 147, setresgid => 149, setgroups => 159, setfsuid => 151, setfsgid => 152, clock_gettime => 113, signalfd4 => 74, close_range => 436)
  : ();
my @limitKinds = (7, 6, 1, 9); # nofile, nproc, fsize, as
my ($PDEATHSIG, $NO_NEW_PRIVS, $SUBREAPER) = (1, 38, 36);
my $self = $$;
my (%running, %pids);
my $output = "";

# Arguments stay in @_: a copy would not show what a call writes into its buffer.
sub call { my $name = shift; return $calls{$name} ? syscall($calls{$name}, @_) : -1 }
sub now {
  return time() * 1000 if !$calls{clock_gettime};
  call("clock_gettime", 0, my $t = "\0" x 16);
  my ($seconds, $nanoseconds) = unpack("qq", $t);
  return $seconds * 1000 + int($nanoseconds / 1000000);
}
sub say_line { $output .= join(" ", @_) . "\n" }
sub flush_output {
  while (length $output) {
    my $n = syswrite(STDOUT, $output);
    if (!defined $n) { next if $! == EINTR; last }
    substr($output, 0, $n) = "";
  }
}

# ---------------------------------------------------------------- in the child

sub make_folder {
  my ($path) = @_;
  return 0 if mkdir $path, 0700;
  return $! + 0 if $! != ENOENT;
  my $part = "";
  for my $segment (grep { length } split m{/}, $path) {
    $part .= "/$segment";
    next if $part eq $path;
    return $! + 0 if !mkdir($part, 0700) && $! != EEXIST;
  }
  return mkdir($path, 0700) ? 0 : $! + 0;
}

sub make_folders {
  my ($o) = @_;
  my $error = 0;
  if ($o->{flags} =~ /f/) {
    $error = make_folder($o->{dir});
    if ($error == EEXIST) {
      rename($o->{dir}, "$o->{trash}/$o->{id}") or return $! + 0;
      $error = mkdir($o->{dir}, 0700) ? 0 : $! + 0;
    }
  } elsif ($o->{flags} =~ /m/) {
    $error = make_folder($o->{dir});
    $error = 0 if $error == EEXIST;
  } else { return 0 }
  if (!$error && index($o->{cwd}, "$o->{dir}/") == 0) {
    $error = make_folder($o->{cwd});
    $error = 0 if $error == EEXIST;
  }
  return $error;
}

sub set_limits {
  my ($o) = @_;
  return if !$calls{prlimit};
  call("prlimit", 0, 4, my $none = pack("QQ", 0, 0), 0);
  for my $i (0 .. 3) {
    my $wanted = $o->{limits}[$i];
    next if $wanted eq "-";
    my $old = pack("QQ", 0, 0);
    call("prlimit", 0, $limitKinds[$i], 0, $old) == 0 or die "limits " . ($! + 0) . "\n";
    my (undef, $hard) = unpack("QQ", $old);
    $wanted = $hard if $wanted > $hard;
    my $new = pack("QQ", $wanted, $wanted);
    call("prlimit", 0, $limitKinds[$i], $new, 0) == 0 or die "limits " . ($! + 0) . "\n";
  }
}

sub become_user {
  my ($o) = @_;
  return if $o->{uid} eq "-";
  my ($uid, $gid) = ($o->{uid} + 0, $o->{gid} + 0);
  if ($o->{flags} =~ /e/) { call("setfsgid", $gid); call("setfsuid", $uid); return }
  if ($calls{setresuid}) {
    (call("setgroups", 0, 0) == 0 && call("setresgid", $gid, $gid, $gid) == 0 && call("setresuid", $uid, $uid, $uid) == 0)
      or die "user " . ($! + 0) . "\n";
    return;
  }
  $! = 0; $) = "$gid $gid"; die "user " . ($! + 0) . "\n" if $!;
  POSIX::setgid($gid) or die "user " . ($! + 0) . "\n";
  POSIX::setuid($uid) or die "user " . ($! + 0) . "\n";
}

sub open_output {
  my ($path, $flags, $as) = @_;
  my $file = POSIX::open($path, $flags, 0600);
  die "output " . ($! + 0) . "\n" if !defined $file;
  return if $file == $as;
  POSIX::dup2($file, $as) or die "output " . ($! + 0) . "\n";
  POSIX::close($file);
}

sub run_program {
  my ($o) = @_;
  %ENV = ();
  my $path = "/usr/bin:/bin";
  for my $entry (@{ $o->{env} }) { my ($name, $value) = split /=/, $entry, 2; $ENV{$name} = $value; }
  $path = $ENV{PATH} if defined $ENV{PATH};
  my @argv = @{ $o->{argv} };
  my @files = index($argv[0], "/") >= 0 ? ($argv[0]) : length $argv[0] ? ("./$argv[0]", map { "$_/$argv[0]" } grep { length } split /:/, $path) : ();
  my $error = 0;
  for my $file (@files) {
    no warnings "exec";
    exec { $file } @argv;
    my $this = $! + 0;
    $this = ENOEXEC if $this == ENOENT && -e $file;
    $error = $this if ($this != ENOENT && $this != ENOTDIR) || !$error;
    last if $this != ENOENT && $this != ENOTDIR && $this != EACCES;
  }
  die "exec " . ($error || ENOENT) . "\n";
}

sub task {
  my ($o) = @_;
  POSIX::setsid();
  $SIG{PIPE} = $SIG{HUP} = $SIG{INT} = $SIG{TERM} = $SIG{CHLD} = "DEFAULT";
  POSIX::sigprocmask(POSIX::SIG_SETMASK(), POSIX::SigSet->new());
  set_limits($o);
  become_user($o);
  call("prctl", $PDEATHSIG, 9, 0, 0, 0);
  POSIX::_exit(127) if getppid() != $self;
  call("prctl", $NO_NEW_PRIVS, 1, 0, 0, 0) if $o->{flags} !~ /e/;
  my $error = make_folders($o);
  die "dir $error\n" if $error;
  open_output("/dev/null", O_RDONLY, 0);
  open_output($o->{out}, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 1);
  open_output($o->{err}, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 2);
  chdir $o->{cwd} or die "cwd " . ($! + 0) . "\n";
  if ($o->{uid} ne "-" && $o->{flags} =~ /e/) { call("setfsuid", $> + 0); call("setfsgid", (split / /, $))[0] + 0) }
  run_program($o);
}

# ---------------------------------------------------------------- in the helper

# The child tells a failure through a pipe that exec closes.
sub launch {
  my ($o) = @_;
  pipe(my $reader, my $writer) or return say_line("E", $o->{id}, "fork", $! + 0);
  my $pid = fork();
  return say_line("E", $o->{id}, "fork", $! + 0) if !defined $pid;
  if ($pid == 0) {
    close $reader;
    eval { task($o); 1 } or syswrite($writer, $@ =~ /^[a-z]+ \d+\n$/ ? $@ : "fork " . EINVAL . "\n");
    POSIX::_exit(127);
  }
  close $writer;
  my $why = "";
  while (1) {
    my $n = sysread($reader, $why, 200, length $why);
    next if !defined $n && $! == EINTR;
    last if !$n;
  }
  if (length $why) {
    waitpid($pid, 0);
    chomp $why;
    return say_line("E", $o->{id}, $why);
  }
  $running{$o->{id}} = { pid => $pid, id => $o->{id}, keep => scalar($o->{flags} =~ /k/) };
  $pids{$pid} = $running{$o->{id}};
  say_line("S", $o->{id}, $pid, now());
}

my %escapes = (t => "\t", n => "\n");
sub unescape { my ($field) = @_; $field =~ s/\\(.)/$escapes{$1} \/\/ $1/ges if index($field, "\\") >= 0; return $field }

sub obey {
  my @f = map { unescape($_) } split /\t/, $_[0], -1;
  if ($f[0] eq "K" && @f >= 3) { kill $f[2] + 0, -$running{$f[1]}{pid} if $running{$f[1]}; return }
  return if $f[0] ne "S";
  return say_line("E", $f[1] // "-", "fork", EINVAL) if @f < 16 || $f[14] !~ /^\d+$/ || 15 + $f[14] >= @f;
  my $env = $f[14];
  launch({ id => $f[1], flags => $f[2], uid => $f[3], gid => $f[4], limits => [@f[5 .. 8]], dir => $f[9], trash => $f[10], cwd => $f[11],
    out => $f[12], err => $f[13], env => [@f[15 .. 14 + $env]], argv => [@f[15 + $env .. $#f]] });
}

sub wait_one {
  my ($pid, $flags) = @_;
  if (!$calls{wait4}) { my $got = waitpid($pid, $flags); return ($got, $?, "-", "-", "-") }
  my ($status, $usage) = (pack("l", 0), "\0" x 144);
  my $got = call("wait4", $pid, $status, $flags, $usage);
  my ($userS, $userUs, $sysS, $sysUs, $rss) = unpack("q5", $usage);
  return ($got, unpack("l", $status), $userS * 1000000 + $userUs, $sysS * 1000000 + $sysUs, $rss);
}

sub reap {
  while (1) {
    my ($pid, $status, @usage) = wait_one(-1, POSIX::WNOHANG());
    return if $pid <= 0;
    my $task = delete $pids{$pid} or next; # an orphan that came back to us
    # As long as anything is left in the group, its number is not given to anybody else.
    kill 9, -$pid if !$task->{keep};
    delete $running{$task->{id}};
    say_line("X", $task->{id}, $status & 127 ? 0 : $status >> 8, $status & 127, @usage, now());
  }
}

sub kill_all {
  my $until = now() + $SWEEP_SECONDS * 1000;
  kill 9, map { -$_ } keys %pids;
  while (now() < $until) {
    my $gone;
    1 while ($gone = waitpid(-1, POSIX::WNOHANG())) > 0;
    return if $gone < 0;
    if (open my $file, "<", "/proc/self/task/$self/children") {
      my $line = <$file>;
      kill 9, grep { $_ > 1 } split / /, $line if defined $line;
      close $file;
    }
    select undef, undef, undef, 0.002;
  }
}

# News of ended children come through a descriptor where the system has signalfd, else by looking often while tasks run.
sub child_news {
  return (undef, 0.01) if !$calls{signalfd4};
  POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new(POSIX::SIGCHLD()));
  my $mask = pack("Q", 1 << (POSIX::SIGCHLD() - 1));
  my $fd = call("signalfd4", -1, $mask, 8, 02004000); # close on exec, do not block
  return (undef, 0.01) if $fd < 0;
  open(my $handle, "<&=", $fd) or return (undef, 0.01);
  return ($handle, undef);
}

umask 077;
call("close_range", 3, 4294967295, 0);
$^F = 2; # what is opened from here on closes at exec
$SIG{PIPE} = $SIG{HUP} = $SIG{INT} = $SIG{TERM} = "IGNORE";
my ($news, $pause) = child_news();
call("prctl", $SUBREAPER, 1, 0, 0, 0);
say_line("H", 1, "perl", $self);
flush_output();
my $input = "";
while (1) {
  my $ready = "";
  vec($ready, 0, 1) = 1;
  vec($ready, fileno $news, 1) = 1 if $news;
  my $n = select($ready, undef, undef, %pids ? $pause : undef);
  1 while $news && sysread($news, my $drained, 4096);
  reap();
  if ($n > 0 && vec($ready, 0, 1)) {
    my $got = sysread(STDIN, $input, 1 << 18, length $input);
    if (!defined $got) { last if $! != EINTR }
    elsif ($got == 0) { last }
    my $from = 0;
    while ((my $end = index($input, "\n", $from)) >= 0) {
      obey(substr($input, $from, $end - $from));
      reap();
      $from = $end + 1;
    }
    substr($input, 0, $from) = "";
  }
  flush_output();
}
kill_all();
