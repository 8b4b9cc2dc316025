<#
.SYNOPSIS
Shows on one real Windows Server which claims of docs/windows.md hold there.

.DESCRIPTION
Needs PowerShell 2.0 or later, and no modules. Three machines take part:

  the platform   a platform for tests: its policy is replaced
  this server    Windows Server 2008 R2 or later; this script runs there as an administrator
  the peer       another machine with PowerShell, neither platform nor asset, running: accept.ps1 -Serve

The script tells what to run on the platform and waits until this server has received it. It restarts this
server once and continues by itself. Results: acceptance.json and acceptance.txt in -Directory.

.EXAMPLE
accept.ps1 -Serve
.EXAMPLE
accept.ps1 -Program .\ctspark.exe -Config .\spark.yaml -Peer 10.0.0.9
#>
param(
    [string]$Program,
    [string]$Config,
    [string]$Peer,
    [string]$Directory = (Join-Path $env:SystemDrive 'Xshield-Acceptance'),
    [switch]$Serve,
    [switch]$Resume
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

# The claims of docs/windows.md, each with its id there.
$ClaimList = @'
plan-decides: A plan decides every packet as the specification does, under every reading of unclear documentation (192 combinations)
denied-stays-denied: Denied packets stay denied whatever others have in lower sublayers
windows-as-documented: Windows behaves as its documentation says, in any of these readings
boot-without-gap: From the start of the driver on, no packet passes that policy denies, in whatever order boot-time filters are replaced by persistent ones
trial-whole: At no point of a trial, nor after a kill at any point, does a packet meet a part of a policy
trial-session-ends-at-once: The same if a killed program's session does not end in one step
drift-repaired: Drift is found and repaired, filters of others are left alone
read-back-as-added: What is added to the filter engine is what is read back, boot-time filters included; values have the form that Windows documents
killed-change: A program that is killed during a change leaves the old policy or the new one, whole, and nothing of the trial
failed-change: The same for a call that fails or whose answer is lost; the change can be repeated
restart-holds-policy: After a restart, persistent and boot-time filters hold the policy
refusals-change-nothing: What the filter engine refuses (duplicates, objects in use, lifetimes, wrong types) changes nothing and is named
engine-errors-say-what-to-do: A filter engine that is stopped, locked by another program or protected is reported with what to do
failed-call: A call of the filter engine that fails, with or without effect, leaves one of the two policies, complete; the next change succeeds
cycle-on-both-engines: The cycle's decisions hold on the filter engine as on nftables: faults at every call, kills, random sequences of events
trial-of-another: A trial of another session is recognised and never changed
programs-exact: Programs of rules are recognised exactly, or the rule is left out with the reason
hosts-together: A Windows host and Linux hosts enforce one policy together: every flow of the shop example, in both directions and both families, passes or is dropped as the policy says; the platform shows the same fields and rules of both
killed-run: Killed at any step, a run leaves the previous policy or the new one, whole, and the same of the threat list; the next run finishes and reports what is in force, diagnostics included
trial-reverted: A new policy through which the platform does not answer is reverted; a run that hangs in a trial is ended when the probation is over, one that is interrupted with Ctrl-C ends at once, and the previous filters decide again
verbs: A run without news changes nothing; filters that were deleted or changed are repaired, and named; another product's objects are left alone; a filter of others in our sublayer is reported; status, explain, restore and remove do what they do on Linux, with the same exit codes
engine-refuses: A filter engine that does not run, refuses access or stays locked, calls of a change that fail or whose answer is lost, and a full disk leave a whole policy, and the error says what to do
console-closed: A run in a trial whose console is closed says what stays in force
bfe-stopped: A stopped service BFE is noticed before anything is changed (exit code 3)
events-name-rules: Events name the rule, also of a ruleset that was replaced; events that can't be attributed are marked as such
explain-as-specified: The filters that are read back explain packets as the specification does
too-many-filters: A ruleset that needs more than 50,000 filters is refused as a whole, and the error names the rule that needs most; the previous one stays in force
many-foreign-filters: A policy comes and goes among 65,536 filters of others
unsupported-rules-reported: Rules that can't be enforced are left out and reported
other-products-reported: The report on other products names who changes which decision
event-ends: Events of the Security log correctly identify which end is this host, in every form in which builds of Windows write them; a drop that is reported twice counts once; late answers of name servers do not count as attempts
firewall-log-parsed: pfirewall.log is parsed by the columns that its header names, and what is missing is reported
events-read-once: Each event of the Security log is read once; overwritten records, a cleared log and records that are cut are reported
firewall-log-followed: pfirewall.log is read line by line from run to run, across the renaming of a full file; a file that is gone is reported as a gap
allowed-but-dropped: What Windows Firewall dropped although a rule of the policy allows it is reported, if Windows Firewall writes its log (decision 63)
flows-attributed: Flows are reported with the rule whose filter decided; what others blocked, loopback, late answers and second events of a drop are left out; hits are counted
list-blocks: Listed peers are blocked whatever the policy permits, under every reading; everything else, and the failsafe, is left to the policy
list-load-failure: A call that fails while a list is loaded or changed leaves a complete list; the next load succeeds
list-changes: A list is loaded, changed, compared and removed beside a policy
list-matches: Flows with listed peers are matches
list-of-100000: The filter engine bears 100,000 entries
audit-switched-on: Audit subcategories are switched on by identifier, and none is switched off; what was taken back is reported
time-servers: The servers of the Windows Time service stay reachable, in a domain its controllers
news-in-application-log: What a run says and the run before did not is written to the Application event log
application-log-written: Reports appear in the Application event log as they were written
software-listed: Installed software is listed, of 64-bit and 32-bit installers, without updates
files-replaced: Files are replaced whole, with long names and names outside of ASCII, also while a scanner has them open; a file that stays open keeps its content, and the error says so
lock-freed: A lock is free after its holder was killed
state-private: State and keys are for SYSTEM and Administrators alone, and a path that others can change is refused
facts-reported: Name, version, addresses, start, machine, disks and interfaces of the host are reported
boot-id: The boot id changes with every start and only then
name-servers: Name servers and search domains are those of the adapters in use
sockets-with-process: Listening ports and flows have the process that made the socket, with its path
services-told: Services are told for processes that run one alone
device-paths: Paths of programs become device paths: spaces, characters outside the first plane, 32,767 characters, network drives, substituted drives
service-identities: Service identities are computed from names
would-be-denials-named: Would-be denials of TCP are named in audit events
tightening-ends-flows: A change of filters ends established flows that the new policy denies
signature-verified: ctspark verify says whether the program is signed, by whom, whether it was changed since, and whether Windows trusts the signer (decision 62)
speed: Anything about speed on Windows
'@

# What is read of Spark's output with --json.
$Patterns = @{
    name       = '"name":"([^"]+)"'
    change     = '"change":"([a-z]+)","platform"'
    code       = '"code":"([a-z-]+)"'
    rule       = '"rule":"([^"]+)"'
    inbound    = '"policy":\{"inbound":"([^"]+)"'
    entry      = '"entry":\{"first":"([^"]+)"'
}

# The policy of the test; ADDRESS is the peer's.
$Policy = @'
segment:
  name: acceptance-closed
  criteria: acceptance in ('closed', 'closed-b')
  templates: [acceptance]
  inbound: { level: secure-inbound-paths, mode: enforce }
  outbound: { level: secure-intranet-paths, mode: enforce }
---
segment:
  name: acceptance-closed-b
  criteria: acceptance = 'closed-b'
  templates: [acceptance-b]
  outbound: { level: secure-intranet-paths, mode: enforce }
---
segment:
  name: acceptance-test
  criteria: acceptance = 'test'
  templates: [acceptance]
  inbound: { level: secure-inbound-paths, mode: test }
  outbound: { level: secure-intranet-paths, mode: test }
---
template:
  name: acceptance
  action: allow
  inbound:
    - { name: from-peer, from: ['ADDRESS'], services: [tcp/7103] }
  outbound:
    - { name: to-peer, to: ['ADDRESS'], services: [tcp/7100-7101] }
---
template:
  name: acceptance-b
  action: allow
  outbound:
    - { name: unused, to: ['ADDRESS'], services: [tcp/7105] }
'@

# Ports: on the peer control, allowed, denied; here allowed, denied.
$Control = 7100
$OutAllowed = 7101
$OutDenied = 7102
$InAllowed = 7103
$InDenied = 7104
# Our provider, and the layers in which inbound TCP is judged.
$Provider = '{9c0a5d0e-6f2b-4b7a-8f6d-2a41c5b7e910}'
$ListProvider = '{2b1f6c3a-94d7-4e1c-8c52-7d0e3f9a6b12}'
$InboundLayer = 'FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4'
# Audit subcategories by identifier, since their names are translated.
$PacketDrop = '{0CCE9225-69AE-11D9-BED3-505054503030}'
$Connection = '{0CCE9226-69AE-11D9-BED3-505054503030}'
$TaskName = 'XshieldAcceptance'
$State = Join-Path $env:ProgramData 'Xshield'
$Installed = Join-Path $env:ProgramFiles 'Xshield\ctspark.exe'
$ConfigPath = Join-Path $State 'spark.yaml'
$Results = Join-Path $Directory 'results.txt'

# ---- the peer ----

function Read-Line($Stream) {
    $text = ''
    while ($text.Length -lt 64) {
        $byte = $Stream.ReadByte()
        if ($byte -lt 0 -or $byte -eq 10) { break }
        $text += [string][char]$byte
    }
    return $text.Trim()
}

function Write-Line($Stream, [string]$Text) {
    $bytes = [System.Text.Encoding]::ASCII.GetBytes($Text + "`n")
    $Stream.Write($bytes, 0, $bytes.Length)
}

# Whether a TCP connection is accepted within a second.
function Test-Tcp([string]$Address, [int]$Port) {
    $client = New-Object System.Net.Sockets.TcpClient ([System.Net.IPAddress]::Parse($Address).AddressFamily)
    try {
        $begun = $client.BeginConnect($Address, $Port, $null, $null)
        if (-not $begun.AsyncWaitHandle.WaitOne(1000, $false)) { return $false }
        $client.EndConnect($begun)
        return $true
    } catch {
        return $false
    } finally {
        $client.Close()
    }
}

function New-Listener([int]$Port) {
    $listener = New-Object System.Net.Sockets.TcpListener ([System.Net.IPAddress]::Any, $Port)
    $listener.Start()
    return $listener
}

# Answers "connect PORT" on the control port by connecting to the asking machine, and returns each line on the
# other ports.
function Start-Peer {
    $listeners = @(New-Listener $Control; New-Listener $OutAllowed; New-Listener $OutDenied)
    $clients = @()
    Write-Host "Waiting on TCP $Control to $OutDenied; open these ports in this machine's firewall. Ctrl-C ends."
    while ($true) {
        if ($listeners[0].Pending()) {
            $client = $listeners[0].AcceptTcpClient()
            try {
                $client.ReceiveTimeout = 5000
                $stream = $client.GetStream()
                $words = (Read-Line $stream) -split ' '
                if ($words.Length -eq 2 -and $words[0] -eq 'connect') {
                    $from = $client.Client.RemoteEndPoint.Address.ToString()
                    $opened = Test-Tcp $from ([int]$words[1])
                    if ($opened) { Write-Line $stream 'open' } else { Write-Line $stream 'closed' }
                    Write-Host "$from port $($words[1]): open = $opened"
                } else {
                    Write-Line $stream 'expected: connect PORT'
                }
            } catch {
                Write-Host "a request was given up: $_"
            } finally {
                $client.Close()
            }
        }
        foreach ($listener in $listeners[1..2]) {
            if ($listener.Pending()) { $clients += $listener.AcceptTcpClient() }
        }
        $kept = @()
        foreach ($client in $clients) {
            try {
                if ($client.GetStream().DataAvailable) {
                    Write-Line $client.GetStream() (Read-Line $client.GetStream())
                }
                $kept += $client
            } catch {
                $client.Close()
            }
        }
        $clients = $kept
        Start-Sleep -Milliseconds 50
    }
}

# Whether the peer reaches a port of this server.
function Test-Inbound([int]$Port) {
    $client = New-Object System.Net.Sockets.TcpClient ([System.Net.IPAddress]::Parse($Peer).AddressFamily)
    try {
        $client.ReceiveTimeout = 10000
        $client.Connect($Peer, $Control)
        Write-Line $client.GetStream() "connect $Port"
        $answer = Read-Line $client.GetStream()
    } finally {
        $client.Close()
    }
    if ($answer -ne 'open' -and $answer -ne 'closed') { throw "the peer answered '$answer'; expected open or closed" }
    return ($answer -eq 'open')
}

# The four probes, as one text: which pass.
function Get-Probes {
    $passed = @()
    if (Test-Tcp $Peer $OutAllowed) { $passed += "out $OutAllowed" }
    if (Test-Tcp $Peer $OutDenied) { $passed += "out $OutDenied" }
    if (Test-Inbound $InAllowed) { $passed += "in $InAllowed" }
    if (Test-Inbound $InDenied) { $passed += "in $InDenied" }
    return ($passed -join ', ')
}
$AllPass = "out $OutAllowed, out $OutDenied, in $InAllowed, in $InDenied"
$PolicyPass = "out $OutAllowed, in $InAllowed"

# ---- results ----

# Result: shown, partly or failed. A failure stays, whatever comes later.
function Set-Claim([string]$Id, [string]$Result, [string]$Detail) {
    $line = "$Id`t$Result`t" + ($Detail -replace '[\r\n\t]+', ' ')
    Add-Content -Path $Results -Value $line -Encoding UTF8
    Write-Host "  $Result  $Id`: $Detail"
}

# Shown if what was seen is what was expected.
function Compare-Claim([string]$Id, [string]$What, [string]$Expected, [string]$Seen, [string]$Result = 'shown') {
    if ($Seen -eq $Expected) { Set-Claim $Id $Result "$What`: $Seen" }
    else { Set-Claim $Id 'failed' "$What`: expected '$Expected', saw '$Seen'" }
}

function ConvertTo-JsonText([string]$Text) {
    $escaped = $Text -replace '\\', '\\' -replace '"', '\"' -replace '[\x00-\x1f]', ' '
    return '"' + $escaped + '"'
}

function Write-Summary {
    $found = @{}
    foreach ($line in @(Get-Content -Path $Results -Encoding UTF8)) {
        $parts = $line -split "`t", 3
        $before = $found[$parts[0]]
        if ($before -ne $null -and $before[1] -eq 'failed') { continue }
        if ($before -ne $null -and $before[1] -eq 'shown' -and $parts[1] -eq 'partly') { continue }
        $found[$parts[0]] = $parts
    }
    $system = Get-WmiObject Win32_OperatingSystem
    $json = @()
    $text = @("$($system.Caption) $($system.Version), $(Get-Date -Format s)", '')
    $count = @{ 'shown' = 0; 'partly' = 0; 'failed' = 0; 'not-shown' = 0 }
    foreach ($line in ($ClaimList -split "`r?`n")) {
        $id, $claim = $line -split ': ', 2
        $result, $detail = 'not-shown', 'this script does not test it'
        if ($found.ContainsKey($id)) { $result, $detail = $found[$id][1], $found[$id][2] }
        $count[$result] += 1
        $fields = @()
        foreach ($pair in @(@('id', $id), @('claim', $claim), @('result', $result), @('detail', $detail))) {
            $fields += (ConvertTo-JsonText $pair[0]) + ': ' + (ConvertTo-JsonText $pair[1])
        }
        $json += '    { ' + ($fields -join ', ') + ' }'
        $text += "$($result.PadRight(9))  $claim"
        $text += "           $id`: $detail"
    }
    $head = '  "system": ' + (ConvertTo-JsonText "$($system.Caption) $($system.Version)")
    $all = "{`r`n$head,`r`n  `"claims`": [`r`n" + ($json -join ",`r`n") + "`r`n  ]`r`n}"
    Set-Content -Path (Join-Path $Directory 'acceptance.json') -Value $all -Encoding UTF8
    $text += ''
    $text += "shown $($count['shown']), partly $($count['partly']), failed $($count['failed']), not shown $($count['not-shown'])"
    Set-Content -Path (Join-Path $Directory 'acceptance.txt') -Value $text -Encoding UTF8
    Write-Host $text[-1]
    Write-Host "Written: $(Join-Path $Directory 'acceptance.json') and acceptance.txt"
    if ($count['failed'] -gt 0) { return 1 }
    return 0
}

# ---- Spark ----

# Starts Spark; -Arguments is one text.
function Start-Spark([string]$Arguments) {
    $info = New-Object System.Diagnostics.ProcessStartInfo
    $info.FileName = $Installed
    $info.Arguments = $Arguments
    $info.UseShellExecute = $false
    $info.RedirectStandardOutput = $true
    $info.StandardOutputEncoding = [System.Text.Encoding]::UTF8
    return [System.Diagnostics.Process]::Start($info)
}

# Runs Spark to its end: its exit code and what it printed.
function Invoke-Spark([string]$Arguments) {
    $process = Start-Spark $Arguments
    $text = $process.StandardOutput.ReadToEnd()
    $process.WaitForExit()
    return New-Object PSObject -Property @{ Code = $process.ExitCode; Text = $text }
}

# The first match of a pattern in Spark's output; empty if there is none.
function Get-Field($Run, [string]$Name) {
    if ($Run.Text -match $Patterns[$Name]) { return $Matches[1] }
    return ''
}

function Test-Problem($Run, [string]$Code) {
    foreach ($match in [regex]::Matches($Run.Text, $Patterns['code'])) {
        if ($match.Groups[1].Value -eq $Code) { return $true }
    }
    return $false
}

# Says what to run on the platform, and runs Spark until the condition holds.
function Wait-Platform([string]$Command, [scriptblock]$Condition) {
    Write-Host ''
    Write-Host 'Run on the platform:'
    Write-Host "    $Command"
    $end = (Get-Date).AddMinutes(15)
    while ((Get-Date) -lt $end) {
        $run = Invoke-Spark 'run --json'
        if (& $Condition $run) { return $run }
        Start-Sleep -Seconds 3
    }
    throw "after 15 minutes, this server has not received: $Command. Last run: $($run.Text)"
}

# Tags this server, and runs Spark until it enforces the policy with this state of inbound flows.
function Wait-Policy([string]$Tag, [string]$Inbound) {
    return Wait-Platform "xshield asset tag $HostName acceptance=$Tag" {
        param($run)
        $run.Code -eq 0 -and (Get-Field $run 'inbound') -eq $Inbound
    }
}

# ---- the filter engine and the event log, read without Spark ----

# Our filters, as netsh shows them.
function Get-Filters {
    $path = Join-Path $Directory 'wfpstate.xml'
    & netsh wfp show state "file=$path" | Out-Null
    if (-not (Test-Path $path)) { throw 'netsh wfp show state wrote no file' }
    $document = New-Object System.Xml.XmlDocument
    $document.Load($path)
    return @($document.SelectNodes("//filters/item[providerKey='$Provider' or providerKey='$ListProvider']"))
}

# The name of our filter that decided about the last event of this kind with this destination port.
function Get-DecidingFilter([int]$EventId, [int]$Port) {
    $query = "*[System[(EventID=$EventId)]]"
    $records = [string]::Join('', @(& wevtutil qe Security "/q:$query" /c:100 /rd:true /f:xml))
    foreach ($record in ($records -split '</Event>')) {
        if ($record -notmatch "'DestPort'>$Port<") { continue }
        if ($record -notmatch "'FilterRTID'>([0-9]+)<") { continue }
        $id = $Matches[1]
        foreach ($filter in (Get-Filters)) {
            if ($filter.SelectSingleNode('filterId').InnerText -eq $id) {
                return $filter.SelectSingleNode('displayData/name').InnerText
            }
        }
        return "a filter that is not ours: $id"
    }
    return "no event $EventId with port $Port"
}

# Deletes a filter as another program would.
function Remove-Filter([string]$Key) {
    if (-not ('XshieldAcceptance.Engine' -as [type])) {
        Add-Type -TypeDefinition @'
using System;
using System.Runtime.InteropServices;
namespace XshieldAcceptance {
    public static class Engine {
        [DllImport("fwpuclnt.dll", CharSet = CharSet.Unicode)]
        static extern uint FwpmEngineOpen0(string server, uint service, IntPtr identity, IntPtr session, out IntPtr engine);
        [DllImport("fwpuclnt.dll")]
        static extern uint FwpmFilterDeleteByKey0(IntPtr engine, ref Guid key);
        [DllImport("fwpuclnt.dll")]
        static extern uint FwpmEngineClose0(IntPtr engine);
        public static uint Delete(Guid key) {
            IntPtr engine;
            uint failed = FwpmEngineOpen0(null, 10, IntPtr.Zero, IntPtr.Zero, out engine);
            if (failed != 0) { return failed; }
            failed = FwpmFilterDeleteByKey0(engine, ref key);
            FwpmEngineClose0(engine);
            return failed;
        }
    }
}
'@
    }
    $failed = [XshieldAcceptance.Engine]::Delete((New-Object Guid $Key))
    if ($failed -ne 0) { throw ('deleting the filter {0} failed with 0x{1:x8}' -f $Key, $failed) }
}

# ---- the steps ----

function Install-Spark {
    New-Item -ItemType Directory -Force -Path (Split-Path -Parent $Installed) | Out-Null
    New-Item -ItemType Directory -Force -Path $State | Out-Null
    # SYSTEM and Administrators alone: Spark refuses a directory that others can change.
    & icacls $State /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null
    Copy-Item -Path $Program -Destination $Installed -Force
    $text = [System.IO.File]::ReadAllText($Config).TrimEnd() + "`r`nauditing: flows`r`n"
    [System.IO.File]::WriteAllText($ConfigPath, $text)
    & netsh advfirewall firewall add rule "name=$TaskName" dir=in action=allow protocol=TCP "localport=$InAllowed,$InDenied" | Out-Null
    foreach ($subcategory in @($PacketDrop, $Connection)) {
        & auditpol /set "/subcategory:$subcategory" /success:disable /failure:disable | Out-Null
    }
}

function Test-Baseline {
    $run = Invoke-Spark 'run --json'
    Compare-Claim 'verbs' 'the first run, exit code' '0' "$($run.Code)" 'partly'
    Compare-Claim 'hosts-together' 'without a policy, what passes' $AllPass (Get-Probes) 'partly'
    $list = [regex]::Matches((Get-Acl $State).Sddl, ';;;([A-Za-z0-9-]+)\)')
    $others = @()
    foreach ($match in $list) { if (@('SY', 'BA') -notcontains $match.Groups[1].Value) { $others += $match.Groups[1].Value } }
    Compare-Claim 'state-private' 'others in the access list of the state directory' '' ($others -join ' ')
}

function Test-Closed {
    $open = New-Object System.Net.Sockets.TcpClient ([System.Net.IPAddress]::Parse($Peer).AddressFamily)
    $open.Connect($Peer, $OutDenied)
    $open.ReceiveTimeout = 3000
    Write-Line $open.GetStream() 'before'
    $before = Read-Line $open.GetStream()
    [void](Wait-Policy 'closed' 'closed (enforce)')
    $after = ''
    try {
        Write-Line $open.GetStream() 'after'
        $after = Read-Line $open.GetStream()
    } catch { $after = '' }
    $open.Close()
    Compare-Claim 'tightening-ends-flows' 'answers before and after, outbound TCP' 'before, ' "$before, $after"
    Compare-Claim 'hosts-together' 'with the policy, what passes' $PolicyPass (Get-Probes) 'partly'
    $start = Get-Date
    $run = Invoke-Spark 'run --json'
    Set-Claim 'speed' 'partly' "a run without news took $([int]((Get-Date) - $start).TotalMilliseconds) ms"
    Compare-Claim 'verbs' 'a run without news, change' 'none' (Get-Field $run 'change') 'partly'
    $explained = Invoke-Spark "explain `"in tcp $Peer`:50000 -> :$InAllowed`" --json"
    Compare-Claim 'verbs' 'explain, the rule' 'acceptance/from-peer' (Get-Field $explained 'rule') 'partly'
    $verified = Invoke-Spark 'verify --json'
    $signature = Get-AuthenticodeSignature -FilePath $Installed
    Compare-Claim 'signature-verified' "verify says that the signature is valid; PowerShell says '$($signature.Status)'" "$($signature.Status -eq 'Valid')" "$($verified.Code -eq 0)"
    $status = Invoke-Spark 'status --json'
    Compare-Claim 'verbs' 'status, exit code' '0' "$($status.Code)" 'partly'
}

function Test-Events {
    Compare-Claim 'flows-attributed' "the filter of a denied connection to port $OutDenied" 'Xshield default/closed' (Get-DecidingFilter 5157 $OutDenied)
    $run = Invoke-Spark 'run --json'
    if (Test-Problem $run 'denials-not-audited') { Set-Claim 'audit-switched-on' 'failed' 'the run reports denials-not-audited' }
    else { Set-Claim 'audit-switched-on' 'shown' 'events were written after the subcategories had been switched off, and no problem is reported' }
    $written = [string]::Join('', @(& wevtutil qe Application "/q:*[System[Provider[@Name='Xshield']]]" /c:1 /rd:true /f:text))
    if ($written -match 'in force') { Set-Claim 'application-log-written' 'shown' $written }
    else { Set-Claim 'application-log-written' 'failed' "expected the last change, saw '$written'" }
}

function Test-Drift {
    $chosen = $null
    foreach ($filter in (Get-Filters)) {
        $name = $filter.SelectSingleNode('displayData/name').InnerText
        $layer = $filter.SelectSingleNode('layerKey').InnerText
        if ($name -eq 'Xshield acceptance/from-peer' -and $layer -eq $InboundLayer) { $chosen = $filter }
    }
    if ($chosen -eq $null) { Set-Claim 'drift-repaired' 'failed' 'netsh shows no filter of acceptance/from-peer'; return }
    foreach ($filter in (Get-Filters)) {
        $name = $filter.SelectSingleNode('displayData/name').InnerText
        if ($name -eq 'Xshield acceptance/from-peer') { Remove-Filter ($filter.SelectSingleNode('filterKey').InnerText) }
    }
    Compare-Claim 'drift-repaired' 'after the filters of from-peer were deleted, what passes' "out $OutAllowed" (Get-Probes)
    $run = Invoke-Spark 'run --json'
    Compare-Claim 'drift-repaired' 'the next run, change' 'repaired' (Get-Field $run 'change')
    Compare-Claim 'drift-repaired' 'after it, what passes' $PolicyPass (Get-Probes)
}

# Kills runs ever later, while the platform changes the policy: whatever passes is what the policy allows.
function Test-Kills {
    Write-Host ''
    Write-Host 'Run on the platform, and end it with Ctrl-C when told:'
    Write-Host "    while sleep 7; do xshield asset tag $HostName acceptance=closed-b; sleep 7; xshield asset tag $HostName acceptance=closed; done"
    $trials = 0
    for ($kill = 0; $kill -lt 30; $kill++) {
        $process = Start-Spark 'run --json'
        Start-Sleep -Milliseconds (100 * (1 + $kill))
        if (-not $process.HasExited) { $process.Kill() }
        $process.WaitForExit()
        $passed = Get-Probes
        if ($passed -ne $PolicyPass) {
            Set-Claim 'killed-run' 'failed' "after kill ${kill}: expected '$PolicyPass', saw '$passed'"
            break
        }
        $run = Invoke-Spark 'run --json'
        if ($run.Code -ne 0) { Set-Claim 'lock-freed' 'failed' "the run after a kill: $($run.Text)" }
        if (Test-Problem $run 'trial-unfinished') { $trials += 1 }
    }
    Write-Host 'End the loop on the platform now.'
    Set-Claim 'killed-run' 'partly' "$kill runs were killed, $trials of them in a trial; after each, what the policy allows passed and nothing else"
    [void](Wait-Policy 'closed' 'closed (enforce)')
    Set-Claim 'lock-freed' 'shown' 'a run after the kills was not held up'
}

function Test-TestMode {
    [void](Wait-Policy 'test' 'closed (test)')
    Compare-Claim 'would-be-denials-named' 'in mode test, what passes' $AllPass (Get-Probes) 'partly'
    $name = Get-DecidingFilter 5156 $OutDenied
    if ($name -like 'Xshield default/*') { Set-Claim 'would-be-denials-named' 'shown' "the filter of a would-be denial: $name" }
    else { Set-Claim 'would-be-denials-named' 'failed' "the filter of a would-be denial: $name" }
    [void](Wait-Policy 'closed' 'closed (enforce)')
}

function Test-List {
    $command = "echo $Peer > /srv/peer.txt; xshield threat settings --private-ranges listed --yes; xshield threat mode set block; " +
        'xshield threat feed add acceptance --file /srv/peer.txt --levels 1=100'
    [void](Wait-Platform $command { param($run) (Get-Field (Invoke-Spark "threat lookup $Peer --json") 'entry') -ne '' })
    $passed = Test-Tcp $Peer $OutAllowed
    Compare-Claim 'list-blocks' 'a connection that the policy permits, to a listed peer, opened' 'False' "$passed" 'partly'
    $name = Get-DecidingFilter 5157 $OutAllowed
    if ($name -like 'Xshield *') { Set-Claim 'list-matches' 'shown' "the filter of a connection to a listed peer: $name" }
    else { Set-Claim 'list-matches' 'failed' "the filter of a connection to a listed peer: $name" }
    [void](Wait-Platform 'xshield threat feed remove acceptance' { param($run) (Get-Field (Invoke-Spark "threat lookup $Peer --json") 'entry') -eq '' })
    Compare-Claim 'list-changes' 'after the list was emptied, what passes' $PolicyPass (Get-Probes) 'partly'
}

function Restart-Server {
    $script = Join-Path $Directory 'accept.ps1'
    Copy-Item -Path $ScriptPath -Destination $script -Force
    $command = "powershell.exe -NoProfile -ExecutionPolicy Bypass -File $script -Resume -Peer $Peer -Directory $Directory"
    & schtasks /create /f /tn $TaskName /sc onstart /ru SYSTEM /rl highest /tr $command | Out-Null
    Write-Host ''
    Write-Host "This server restarts now and continues by itself; wait for $(Join-Path $Directory 'acceptance.txt')."
    Restart-Computer -Force
}

# After the restart: the filters decide before any run of Spark.
function Test-Restarted {
    $end = (Get-Date).AddMinutes(5)
    $reached = $false
    while (-not $reached -and (Get-Date) -lt $end) { $reached = Test-Tcp $Peer $OutAllowed }
    Compare-Claim 'restart-holds-policy' 'after a restart, before any run, what passes' $PolicyPass (Get-Probes)
    $run = Invoke-Spark 'run --json'
    Compare-Claim 'restart-holds-policy' 'the run after the restart, change' 'none' (Get-Field $run 'change')
}

function Test-Removed {
    foreach ($verb in @('restore', 'remove')) {
        $run = Invoke-Spark $verb
        Compare-Claim 'verbs' "$verb, exit code" '0' "$($run.Code)" 'partly'
    }
    Compare-Claim 'verbs' 'filters of ours after remove' '0' "$(@(Get-Filters).Count)" 'partly'
    Compare-Claim 'hosts-together' 'after remove, what passes' $AllPass (Get-Probes) 'partly'
    & netsh advfirewall firewall delete rule "name=$TaskName" | Out-Null
    & schtasks /delete /f /tn $TaskName | Out-Null
}

function Assert-Ready {
    $identity = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
    if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) { throw 'run this as an administrator' }
    if ([IntPtr]::Size -ne 8) { throw 'this is 32-bit PowerShell or 32-bit Windows; Xshield needs 64-bit Windows, and this script its PowerShell' }
    foreach ($given in @($Program, $Config)) {
        if (-not $given -or -not (Test-Path $given)) { throw "give -Program and -Config; '$given' is not there" }
    }
    if ($Directory -match ' ') { throw "-Directory must not contain spaces: '$Directory'" }
    if (-not (Test-Tcp $Peer $Control)) { throw "nothing answers at $Peer port $Control; run accept.ps1 -Serve there" }
}

$ScriptPath = $MyInvocation.MyCommand.Path
if ($Serve) { Start-Peer }
$listeners = @(New-Listener $InAllowed; New-Listener $InDenied)
try {
    if ($Resume) {
        # Nobody looks at this window: whatever happens, there is a summary.
        try {
            Test-Restarted
            Test-Removed
        } catch {
            Set-Claim 'restart-holds-policy' 'failed' "the script stopped: $_"
        }
        exit (Write-Summary)
    }
    Assert-Ready
    New-Item -ItemType Directory -Force -Path $Directory | Out-Null
    Set-Content -Path $Results -Value @() -Encoding UTF8
    Install-Spark
    Test-Baseline
    $HostName = Get-Field (Invoke-Spark 'status --json') 'name'
    $policyFile = Join-Path $Directory 'policy.yaml'
    [System.IO.File]::WriteAllText($policyFile, ($Policy -replace 'ADDRESS', $Peer))
    Write-Host "Copy $policyFile to the platform's machine and run there: xshield policy apply -f policy.yaml --synchronize --yes"
    [void](Read-Host 'Press Enter when that is done')
    Test-Closed
    Test-Events
    Test-Drift
    Test-Kills
    Test-TestMode
    Test-List
    Restart-Server
} catch {
    Write-Host ''
    Write-Host "Stopped: $_"
    if (Test-Path $Installed) { Write-Host "What is enforced here stays; to remove it, run: `"$Installed`" remove" }
    if (Test-Path $Results) { [void](Write-Summary) }
    exit 1
} finally {
    foreach ($listener in $listeners) { $listener.Stop() }
}
