<?php
// Sends the mail described by the JSON on standard input, as an application would; prints what
// PHPMailer reports. Exit code 1 when it throws. SMTPDebug shows the server's replies, as in
// PHPMailer's own example: without it a user reads no more than "Could not authenticate".
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;
use PHPMailer\PHPMailer\SMTP;

$task = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
$mail = new PHPMailer(true);
try {
    $mail->isSMTP();
    $mail->SMTPDebug = SMTP::DEBUG_SERVER;
    $mail->Debugoutput = 'echo';
    $mail->Host = $task['host'];
    $mail->Port = $task['port'];
    $mail->SMTPSecure = PHPMailer::ENCRYPTION_STARTTLS;
    $mail->SMTPAuth = true;
    $mail->Username = $task['user'];
    $mail->Password = $task['password'];
    $mail->CharSet = PHPMailer::CHARSET_UTF8;
    $mail->setFrom($task['from']);
    foreach ($task['to'] as $address) {
        $mail->addAddress($address);
    }
    foreach ($task['bcc'] as $address) {
        $mail->addBCC($address);
    }
    $mail->Subject = $task['subject'];
    if ($task['html'] !== '') {
        $mail->isHTML(true);
        $mail->Body = $task['html'];
        $mail->AltBody = $task['text'];
    } else {
        $mail->Body = $task['text'];
    }
    if ($task['attachment'] !== '') {
        $mail->addAttachment($task['attachment']);
    }
    $mail->send();
    echo $mail->getSMTPInstance()->getLastTransactionID(), "\n";
} catch (Exception $error) {
    echo $mail->ErrorInfo, "\n";
    exit(1);
}
